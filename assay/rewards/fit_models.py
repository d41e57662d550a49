"""Judges on transformers models, fitted to a pool: a linear head on frozen features, or every
weight of every member.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Pairs, Prompts
from assay.core.rng import Rng
from assay.errors import InputError
from assay.rewards.encoder import Member, ModelReward
from assay.rewards.encoding import (
    Encoded,
    dedicated_pad,
    encode,
    open_model,
    open_tokenizer,
    template_for,
)
from assay.rewards.fit import bradley_terry_fitted
from assay.rewards.frozen import Embedder, FrozenReward, standardised
from assay.rewards.linear_solvers import Design, centred_ridge, pairwise
from assay.rewards.pool import Pool, comparisons


class Frozen:
    """Convex heads on features that are computed once."""

    def __init__(
        self,
        pool: Pool,
        base: str,
        *,
        pooling: str,
        max_length: int,
        ridge: float,
        smoothing: float,
        centre: float,
    ):
        self.pool, self.ridge, self.smoothing, self.centre = pool, ridge, smoothing, centre
        self.embedder = Embedder(base, pooling, max_length)
        rows = [
            encode(self.embedder.tokenizer, self.embedder.template, *row)
            for row in zip(pool.prompts, pool.responses, pool.turns, strict=True)
        ]
        self.notes = _cut(
            sum(r.cut > 0 for r in rows), len(rows), self.embedder.template.max_length
        )
        self.features = self.embedder(rows)

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> FrozenReward:
        """Heads for these rows, each prompt counting counts[g, m] times for member m."""
        x = self.features[rows]
        spread = x.std(0, correction=0)
        middle, spread = x.mean(0), torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        dense = standardised(x, middle, spread)
        none = torch.zeros(0, dtype=torch.int32)
        design = Design(
            none, torch.zeros(0), torch.zeros(len(rows) + 1, dtype=torch.int32), 0, dense
        )
        if self.pool.score is not None:
            score = self.pool.score[rows].float()
            w = centred_ridge(design, score, self.pool.group[rows], ridge=self.ridge, counts=counts)
            offset = score.mean() - (dense @ w).mean(0)
        else:
            pairs, p, margin, group = comparisons(self.pool, rows)
            w = pairwise(
                design,
                pairs,
                p=p,
                margin=margin,
                ridge=self.ridge,
                counts=counts[group],
                smoothing=self.smoothing,
                centre=self.centre,
            )
            offset = -(dense @ w).mean(0)
        return FrozenReward(self.embedder, middle, spread, w, offset)

    def scores(self, fitted: FrozenReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """Scores of rows of the pool."""
        return fitted.of_features(self.features[rows])


class Whole:
    """Every weight of a copy of the base, or adapters of rank `lora` on it, a copy a member, one
    after another, by Bradley–Terry.
    """

    def __init__(
        self,
        pool: Pool,
        base: str,
        *,
        max_length: int,
        epochs: float,
        batch: int,
        lr: float,
        smoothing: float,
        centre: float,
        pairs_a_prompt: int,
        lora: int = 0,
    ):
        if not (math.isfinite(epochs) and epochs > 0):
            raise InputError(f"--epochs is {epochs}; it must be above 0")
        if pairs_a_prompt < 1:
            raise InputError(f"--pairs-a-prompt is {pairs_a_prompt}; it must be at least 1")
        if batch < 1:
            raise InputError(f"--batch is {batch}; it must be at least 1")
        if lora < 0:
            raise InputError(
                f"--lora is {lora}; it is a rank of at least 1, or 0 to train all weights"
            )
        self.pool, self.base, self.epochs, self.batch, self.lr = pool, base, epochs, batch, lr
        self.smoothing, self.centre, self.pairs_a_prompt, self.lora = (
            smoothing,
            centre,
            pairs_a_prompt,
            lora,
        )
        self.tokenizer = open_tokenizer(base)
        probe = open_model(
            "AutoModelForSequenceClassification", base, num_labels=1, ignore_mismatched_sizes=True
        )
        padded = dedicated_pad(self.tokenizer, probe)
        self.template = template_for(self.tokenizer, probe.config, max_length)
        self.rows = [
            encode(self.tokenizer, self.template, *row)
            for row in zip(pool.prompts, pool.responses, pool.turns, strict=True)
        ]
        self.fits = torch.tensor([r.cut == 0 for r in self.rows])
        long = int((~self.fits).sum())
        if long == len(self.rows):
            raise InputError(
                f"all {long:,} texts are longer than the limit of {self.template.max_length} "
                "tokens; raise --max-length or shorten them"
            )
        said = f"{long:,} of {len(self.rows):,} texts are longer than {self.template.max_length} tokens"
        said += ": no judge was fitted on them, and they were scored with their beginning cut"
        self.notes = [*([padded] if padded else []), *([said] if long else [])]

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> ModelReward:
        """One model a member: its own head, its own order of the pairs, its own prompts (`counts`)."""
        first, second, p, margin, group = self._pairs(rows, rng)
        ok = self.fits[first] & self.fits[second]
        first, second, p, margin, group = (x[ok] for x in (first, second, p, margin, group))
        if not len(first):
            raise InputError(
                f"no pair has both answers within {self.template.max_length} tokens; raise "
                "--max-length"
            )
        models = []
        for m in range(counts.shape[1]):
            mine = torch.repeat_interleave(torch.arange(len(group)), counts[group, m].long())
            pairs = self._encoded(first[mine], second[mine], p[mine], margin[mine])
            model = Member(self.base, self.tokenizer, self.template, rng("member", m))
            dedicated_pad(self.tokenizer, model.model)
            if self.lora:
                model.adapt(self.lora, rng("adapter", m))
            steps = max(1, math.ceil(self.epochs * len(pairs) / self.batch))
            seed = int(rng("seed", m).integers(2**31, 0))
            loop = Loop(
                max_steps=steps,
                batch_size=min(self.batch, len(pairs)),
                learning_rate=self.lr,
                warmup_steps=max(1, steps // 20),
                seed=seed,
            )
            fitted = bradley_terry_fitted(
                model, pairs, smoothing=self.smoothing, centre=self.centre, loop=loop
            )
            assert isinstance(fitted, ModelReward)
            models += fitted.models
        return ModelReward(
            models, self.tokenizer, self.template, [f"judge{m}" for m in range(len(models))]
        )

    def scores(self, fitted: ModelReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """Scores of rows of the pool."""
        return fitted.of_tokens([self.rows[i] for i in rows.tolist()])

    def _pairs(
        self, rows: Int[Tensor, "r"], rng: Rng
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(first, second, p, margin, prompt): the file's pairs, or pairs drawn within each prompt
        of scored responses, the better first, p = σ(2·difference/spread), the spread that of scores
        within prompts.
        """
        pool = self.pool
        if pool.pairs is not None:
            at, p, margin, group = comparisons(pool, rows)
            return rows[at[:, 0]], rows[at[:, 1]], p, margin, group
        assert pool.score is not None
        order = rows[torch.argsort(pool.group[rows], stable=True)]
        size = torch.bincount(pool.group[order], minlength=pool.groups)
        total = torch.zeros(pool.groups, dtype=torch.float64).index_add_(
            0, pool.group[order], pool.score[order]
        )
        mean = total / size.clamp(min=1)
        spread = (pool.score[order] - mean[pool.group[order]]).square().mean().sqrt()
        start = size.cumsum(0) - size
        here = (size > 1).nonzero()[:, 0].repeat_interleave(self.pairs_a_prompt)
        draw = torch.arange(len(here))
        a = (rng("first").uniform(draw, dtype=torch.float64) * size[here]).long()
        b = (
            a + 1 + (rng("second").uniform(draw, dtype=torch.float64) * (size[here] - 1)).long()
        ) % size[here]
        a, b = order[start[here] + a], order[start[here] + b]
        gap = (pool.score[a] - pool.score[b]) / spread
        a, b = torch.where(gap >= 0, a, b), torch.where(gap >= 0, b, a)
        told = gap != 0
        return (
            a[told],
            b[told],
            torch.sigmoid(2 * gap.abs())[told].float(),
            torch.zeros(int(told.sum())),
            here[told],
        )

    def _encoded(self, first: Tensor, second: Tensor, p: Tensor, margin: Tensor) -> Pairs:
        """Token pairs: prompts padded on the left, answers on the right, as everything in this
        library.
        """
        rows = [
            (self.rows[i], self.rows[j])
            for i, j in zip(first.tolist(), second.tolist(), strict=True)
        ]
        P = max(a.answer for a, _ in rows)
        T = max(max(_answer(x) for x in two) for two in rows)
        tokens, action = (
            torch.zeros(len(rows), P, dtype=torch.int64),
            torch.zeros(len(rows), 2, T, dtype=torch.int64),
        )
        asked, mask = (
            torch.zeros_like(tokens, dtype=torch.bool),
            torch.zeros_like(action, dtype=torch.bool),
        )
        for b, two in enumerate(rows):
            tokens[b, P - two[0].answer :] = torch.tensor(two[0].ids[: two[0].answer])
            asked[b, P - two[0].answer :] = True
            for n, x in enumerate(two):
                action[b, n, : _answer(x)] = torch.tensor(x.ids[x.answer :], dtype=torch.int64)
                mask[b, n, : _answer(x)] = True
        nowhere = torch.full(mask.shape, torch.nan).masked_fill(~mask, 0.0)
        return Pairs(
            Prompts(tokens, asked, torch.arange(len(rows))),
            action,
            mask,
            torch.zeros_like(mask),
            nowhere,
            torch.ones(len(rows), 2, dtype=torch.bool),
            p=p.float(),
            margin=margin.float(),
        )


def _answer(x: Encoded) -> int:
    return len(x.ids) - x.answer


def _cut(long: int, rows: int, limit: int) -> list[str]:
    if long == rows and rows:
        raise InputError(
            f"all {long:,} texts are longer than the limit of {limit} tokens; raise --max-length "
            "or shorten them"
        )
    return (
        [
            f"{long:,} of {rows:,} texts are longer than {limit} tokens and lost their prompt's "
            "beginning"
        ]
        if long
        else []
    )
