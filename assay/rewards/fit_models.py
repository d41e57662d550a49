"""Rewards on transformers models, fitted to a pool: a head on frozen features, or whole models."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Pairs
from assay.core.rng import Rng
from assay.engine import progress
from assay.engine.descend import micro_batches
from assay.errors import InputError
from assay.models.text_encoder import TextEncoder
from assay.models.weights_read import all_tokens, check_finite, whole_base
from assay.rewards.encoder import Member, ModelReward
from assay.rewards.encoding import dedicated_pad, open_model, open_tokenizer, template_for
from assay.rewards.fit import bradley_terry_fitted
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_folds import NothingFits
from assay.rewards.frozen import Embedder, FrozenReward, standardised
from assay.rewards.linear_solvers import bradley_terry_optimum, ridge_within_prompts
from assay.rewards.pool import Pool, comparisons
from assay.rewards.pool_tokens import cut_note, tokens_of
from assay.rewards.row_tokens import Encoded
from assay.rewards.token_pairs import token_pairs

_TOKENS = 2048  # a training pass, padding included: its memory does not grow with the batch


class FrozenFitter:
    """Linear heads on features that are computed once; a `Fitter`."""

    def __init__(self, pool: Pool, config: FitConfig):
        self.embedder = Embedder(config.base, config.pooling, config.max_length)
        template, encoder = self.embedder.template, TextEncoder(self.embedder.tokenizer)
        self.pool, rows, self.notes = tokens_of(pool, encoder, template)
        self.config = config
        _some_fit(rows, template.max_length)
        cut = cut_note(rows, template.max_length)
        if cut:
            self.notes.append(cut)
        self.features = self.embedder(rows)

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> FrozenReward:
        """See `Fitter`."""
        pool, c = self.pool, self.config
        middle, spread, dense = self._standardised(rows)
        ridge = 1.0 if c.ridge is None else c.ridge
        if pool.score is not None:
            score = pool.score[rows].float()
            w = ridge_within_prompts(dense, score, pool.group[rows], ridge=ridge, counts=counts)
            offset = score.mean() - (dense @ w).mean(0)
        else:
            pairs, p, margin, group = comparisons(pool, rows)
            w = bradley_terry_optimum(
                dense,
                pairs,
                p=p,
                margin=margin,
                ridge=ridge,
                counts=counts[group],
                smoothing=c.smoothing,
                centre=c.centre,
            )
            offset = -(dense @ w).mean(0)
        return FrozenReward(self.embedder, middle, spread, w, offset)

    def design(self, rows: Int[Tensor, "r"]) -> tuple[Tensor, Callable[[Tensor], FrozenReward]]:
        """See `TextFitter.design`."""
        middle, spread, dense = self._standardised(rows)

        def made(weight: Tensor) -> FrozenReward:
            none = weight.new_zeros(weight.shape[1])
            return FrozenReward(self.embedder, middle, spread, weight, none)

        return dense, made

    def _standardised(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean and spread of these rows' features, and the features by them."""
        x = self.features[rows]
        spread = x.std(0, correction=0)
        middle, spread = x.mean(0), torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        return middle, spread, standardised(x, middle, spread)

    def scores(self, fitted: FrozenReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """See `Fitter`."""
        return fitted.of_features(self.features[rows])


class ModelFitter:
    """A copy of the base for each member, fitted one after another by Bradley–Terry; a `Fitter`.

    All weights are trained, or adapters of rank `config.lora`.
    """

    def __init__(self, pool: Pool, config: FitConfig):
        self.config = config
        self.tokenizer = open_tokenizer(config.base)
        probe, info = open_model(
            "AutoModelForSequenceClassification",
            config.base,
            num_labels=1,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
        whole_base(probe, info, config.base)
        check_finite(probe.base_model, f"'{config.base}' should be a base")
        all_tokens(probe, self.tokenizer, config.base)
        padded = dedicated_pad(self.tokenizer, probe)
        self.template = template_for(self.tokenizer, probe.config, config.max_length)
        encoder, limit = TextEncoder(self.tokenizer), self.template.max_length
        self.pool, self.rows, notes = tokens_of(pool, encoder, self.template)
        self.fits = torch.tensor([r.cut == 0 for r in self.rows])
        _some_fit(self.rows, limit)
        self.notes = [padded, *notes] if padded else notes
        cut = cut_note(self.rows, limit)
        if cut:
            self.notes.append(f"{cut}; no member was fitted to them, and they were scored so")

    def fit(self, rows: Int[Tensor, "r"], counts: Float[Tensor, "G M"], rng: Rng) -> ModelReward:
        """See `Fitter`. A member has its own head, its own order of pairs and its own prompts."""
        first, second, p, margin, group = self._pairs(rows, rng)
        ok = self.fits[first] & self.fits[second]
        first, second, p, margin, group = (x[ok] for x in (first, second, p, margin, group))
        if not len(first):
            raise NothingFits(
                f"no pair has both completions within {self.template.max_length} tokens; raise "
                "--max-length"
            )
        models = []
        for m in progress.over(range(counts.shape[1]), "fitting members", "members"):
            mine = torch.repeat_interleave(torch.arange(len(group)), counts[group, m].long())
            if not len(mine):  # its resample has prompts of long texts alone: it gets all that fit
                mine = torch.arange(len(group))
            chosen = [self.rows[i] for i in first[mine].tolist()]
            rejected = [self.rows[i] for i in second[mine].tolist()]
            pairs = token_pairs(chosen, rejected, p[mine], margin[mine])
            models += self._member(pairs, m, rng).models
        names = [f"judge{m}" for m in range(len(models))]
        return ModelReward(models, self.tokenizer, self.template, names)

    def _member(self, pairs: Pairs, m: int, rng: Rng) -> ModelReward:
        """Fit one member to its pairs."""
        c = self.config
        model = Member(c.base, self.tokenizer, self.template, rng("member", m))
        dedicated_pad(self.tokenizer, model.model)
        if c.lora:
            model.adapt(c.lora, rng("adapter", m))
        steps = max(1, math.ceil(c.epochs * len(pairs) / c.batch_size))
        loop = Loop(
            max_steps=steps,
            batch_size=min(c.batch_size, len(pairs)),
            learning_rate=c.learning_rate,
            warmup_steps=max(1, steps // 20),
            seed=int(rng("seed", m).integers(2**31, 0)),
        )
        with micro_batches(pass_size(pairs)):
            fitted = bradley_terry_fitted(
                model, pairs, smoothing=c.smoothing, centre=c.centre, loop=loop
            )
        assert isinstance(fitted, ModelReward)
        return fitted

    def scores(self, fitted: ModelReward, rows: Int[Tensor, "r"]) -> Float[Tensor, "M r"]:
        """See `Fitter`."""
        return fitted.of_tokens([self.rows[i] for i in rows.tolist()])

    def _pairs(
        self, rows: Int[Tensor, "r"], rng: Rng
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return (first, second, p, margin, prompt) of the pairs among these rows.

        Where the file has scored responses, pairs are drawn within each prompt, the better response
        first, with p = σ(2·difference/spread) and the spread of scores within prompts.
        """
        pool = self.pool
        if pool.pairs is not None:
            at, p, margin, group = comparisons(pool, rows)
            return rows[at[:, 0]], rows[at[:, 1]], p, margin, group
        assert pool.score is not None
        order = rows[torch.argsort(pool.group[rows], stable=True)]
        of, score = pool.group[order], pool.score[order]
        size = torch.bincount(of, minlength=pool.groups)
        total = torch.zeros(pool.groups, dtype=torch.float64).index_add_(0, of, score)
        mean = total / size.clamp(min=1)
        spread = (score - mean[of]).square().mean().sqrt()
        start = size.cumsum(0) - size
        here = (size > 1).nonzero()[:, 0].repeat_interleave(self.config.pairs_a_prompt)
        draw, n = torch.arange(len(here)), size[here]
        a = (rng("first").uniform(draw, dtype=torch.float64) * n).long()
        b = (a + 1 + (rng("second").uniform(draw, dtype=torch.float64) * (n - 1)).long()) % n
        a, b = order[start[here] + a], order[start[here] + b]
        gap = (pool.score[a] - pool.score[b]) / spread
        a, b = torch.where(gap >= 0, a, b), torch.where(gap >= 0, b, a)
        told = gap != 0
        p = torch.sigmoid(2 * gap.abs())[told].float()
        return a[told], b[told], p, torch.zeros(int(told.sum())), here[told]


def pass_size(pairs: Pairs) -> int:
    """Return the completions of a training pass: of 2,048 tokens, padding included, or one pair."""
    longest = pairs.prompts.mask.shape[1] + pairs.mask.shape[2]
    return max(2, _TOKENS // longest)


def _some_fit(rows: Sequence[Encoded], limit: int) -> None:
    if rows and all(r.cut for r in rows):
        raise InputError(
            f"all {len(rows):,} texts are longer than the limit of {limit} tokens; raise "
            "--max-length or shorten them"
        )
