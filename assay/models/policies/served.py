"""A policy whose completions another engine generates: a server, or vLLM in this process.

Completions come back as token ids; where an engine returns text alone it is encoded again, and
completions that change by this are counted. Log-probabilities are computed here: an engine computes
in another precision and order, and reports log-probabilities before temperature and truncation, so
its numbers belong to another distribution. A completion that this policy could not have generated
(outside top_k or top_p, by rounding) is generated again.

The engine holds the weights it was started with. So `copy`, which is for training, is refused:
completions of the old weights that are learnt from as if they were the new ones' are off-policy,
and nothing would show it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.models.padding import padded_completions
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.samplers.engine import Completion, Engine, Request, SamplingParams
from assay.models.tokenizer import Tokens

log = logging.getLogger("assay")
ROUNDS = 4  # how often completions that this policy cannot generate are generated again
TOKENS = 1 << 16  # scored in one pass, at least those of one prompt's completions


Drawn = tuple[list[int], bool]  # a completion's ids, and whether it ended by itself


class Served(Stopping):
    """A policy that asks an engine for whole completions.

    Completions that continue others, and token-by-token decoding, are computed here, from the same
    weights.
    """

    replayable = False  # no engine promises the same completion twice

    def __init__(self, backbone: Any, vocabulary: Stops, engine: Engine, **settings: Any):
        super().__init__(backbone, vocabulary, **settings)
        self.engine = engine
        self._before_training = self._changes()

    def _changes(self) -> int:
        """Count the changes of weights in place."""
        return sum(p._version for p in self.parameters())

    def copy(self, **changed: Any) -> Causal:
        """Refuse: the engine would not follow the copy's weights.

        Raises:
            InputError: Always.
        """
        raise InputError(
            f"--sampler draws from {self.engine.name}, which holds the weights it was "
            "started with, and this recipe trains a copy: its completions would be the old "
            "weights'; leave --sampler out, or take a recipe that draws from the reference "
            "alone, such as best_of_n"
        )

    def sampling_params(self) -> SamplingParams:
        """Return this policy's settings as an engine is told them."""
        own = self.vocabulary
        return SamplingParams(
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_tokens,
            self.max_tokens,
            own.stop,
            own.ends,
            tuple(i for i in own.barred if i < len(own.tokenizer)),
        )

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Generate completions by the engine, in the order in which it returns them.

        See Sampler.sample. Completions of `start` are continued by this policy, not the engine.

        Raises:
            InputError: The engine cannot, or holds other weights or settings than this policy.
        """
        if self._changes() != self._before_training:
            raise InputError(
                f"{self.engine.name} holds other weights than this policy has now: draw from a "
                "policy that is not trained, or leave --sampler out"
            )
        if start is not None:
            state = self.decoding(prompts, n, rng, start)
            while state.step():
                pass
            return state.samples()
        wanted = n.tolist() if isinstance(n, Tensor) else [n] * len(prompts)
        got: list[list[tuple[Drawn, Tensor]]] = [[] for _ in wanted]
        ids = [tuple(t[m].tolist()) for t, m in zip(prompts.tokens, prompts.mask, strict=True)]
        outside = 0
        for turn in range(ROUNDS):
            rows = [b for b, k in enumerate(wanted) if len(got[b]) < k]
            if not rows:
                break
            seeds = (rng.bits(torch.tensor(rows), turn) & 0x7FFFFFFF).tolist()
            requests = [
                Request(ids[b], wanted[b] - len(got[b]), seed)
                for b, seed in zip(rows, seeds, strict=True)
            ]
            fresh = self._read(self.engine.generate(requests, self.sampling_params()))
            y = self._scored(self._samples(prompts[torch.tensor(rows)], fresh))
            possible = (y.present & torch.isfinite(y.logp).all(-1)).tolist()
            for b, some, ok, worth in zip(rows, fresh, possible, y.logp, strict=True):
                got[b] += [(a, w) for a, good, w in zip(some, ok, worth) if good]
                outside += len(some) - sum(ok[: len(some)])
        if (short := sum(k - len(g) for k, g in zip(wanted, got, strict=True))) > 0:
            raise InputError(
                f"{self.engine.name} drew {outside} completions that this policy cannot give "
                f"(outside its top_k, top_p or vocabulary), and after {ROUNDS} rounds {short} of "
                f"{sum(wanted)} are missing: it serves another model, or does not know these "
                "settings, or returns text that is other tokens once encoded again"
            )
        if outside:
            log.info(
                "%s: %d completions drawn again, which this policy cannot give",
                self.engine.name,
                outside,
            )
        x = self._samples(prompts, [[a for a, _ in row] for row in got])
        logp = x.logp.to(next((w.dtype for row in got for _, w in row), x.logp.dtype))
        for b, row in enumerate(got):
            for k, ((said, _), w) in enumerate(row):
                logp[b, k, : len(said)] = w[: len(said)]
        return replace(x, logp=logp)

    @torch.no_grad()
    def logp_difference(self, one: Prompts, ids: Sequence[int], worth: Sequence[float]) -> float:
        """Mean absolute difference in log-probability per token between an engine and this model.

        Args:
            one: One prompt.
            ids: A completion's tokens.
            worth: The engine's log-probabilities of them, before temperature and truncation.

        Returns:
            Nats a token.
        """
        self._known(ids)
        x = self._samples(one, [[(list(ids), True)]])
        hidden, _ = self.states(x)
        mine = (
            self.backbone.logits(hidden).log_softmax(-1).gather(1, x.action[x.mask][:, None])[:, 0]
        )
        return float((mine.double().cpu() - torch.tensor(worth, dtype=torch.float64)).abs().mean())

    # ---- from what an engine says to Samples

    def _known(self, ids: Sequence[int]) -> None:
        if max(ids, default=0) >= len(self.vocabulary):
            raise InputError(
                f"{self.engine.name} drew the token {max(ids)}, and this model knows "
                f"{len(self.vocabulary)}: its tokenizer is another; serve the model that "
                "--model names"
            )

    def _read(self, said: Sequence[Sequence[Completion]]) -> list[list[Drawn]]:
        """Return every completion as its ids, and whether it ended by itself."""
        back = [[self._encoded(s) for s in some] for some in said]
        drifted = sum(not exact for some in back for _, exact in some)
        if drifted:
            log.warning(
                "%s returns text, and %d of %d completions are not the tokens that were drawn once "
                "they are encoded again",
                self.engine.name,
                drifted,
                sum(map(len, back)),
            )
        return [[self._ended(s) for s, _ in some] for some in back]

    def _encoded(self, said: Completion) -> tuple[Completion, bool]:
        """Return a completion with its ids, and whether they are those that were generated.

        As far as one can tell: as text they are the same, they are as many as the engine counted,
        and no mark stands for bytes that made no character.
        """
        if said.ids is not None:
            self._known(said.ids)
            return said, True
        ids = tuple(
            self.vocabulary.tokenizer(said.text, add_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        )
        full = (
            said.full and said.tokens != len(ids) + 1
        )  # an end token that was the last one allowed is called cut by some
        many = said.tokens is None or said.tokens in (len(ids), len(ids) + (not full))
        return replace(said, ids=ids, full=full), many and "\ufffd" not in said.text and (
            Tokens.decode(self.vocabulary, ids) == said.text
        )

    def _ended(self, said: Completion) -> Drawn:
        """Return the ids up to the token that ends them by this policy's own settings, and whether
        one does. An end token that the engine left out is put back.
        """
        own, ids = self.vocabulary, list(said.ids or ())
        text = Tokens.decode(own, ids)
        watched = any(s in text for s in own.stop)
        for k, i in enumerate(ids[: self.max_tokens], 1):
            if i in own.ends or (watched and k > self.min_tokens and own.stopped(ids[:k])):
                return ids[:k], True
        if said.full or said.by is not None or len(ids) >= self.max_tokens:
            return ids[: self.max_tokens], False
        return [*ids, own.eos], True

    def _samples(self, prompts: Prompts, rows: Sequence[Sequence[Drawn]]) -> Samples:
        """Completions as Samples, their log-probabilities not yet known."""
        ids = [[some for some, _ in row] for row in rows]
        x = padded_completions(prompts, ids, pad=self.vocabulary.pad, dtype=self.like.dtype)
        ended = torch.zeros_like(x.ended)
        for b, row in enumerate(rows):
            ended[b, : len(row)] = torch.tensor([done for _, done in row], dtype=torch.bool)
        return replace(x, logp=torch.zeros_like(x.logp), ended=ended)

    @torch.no_grad()
    def _scored(self, x: Samples) -> Samples:
        """Add this policy's log-probabilities, some prompts at a time: the hidden states of a large
        pool are many.
        """
        each = max(
            1, TOKENS // max(1, x.mask.shape[1] * (x.mask.shape[2] + x.prompts.mask.shape[1]))
        )
        return replace(
            x, logp=torch.cat([self.logp(x[i : i + each]) for i in range(0, len(x), each)])
        )
