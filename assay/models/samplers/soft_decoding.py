"""Token-by-token decoding of a policy that thinks in mixtures of tokens.

A thought's noise is a function of its completion, its place and the token: the same whatever stands
beside it, and whatever the order of the tokens that it keeps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Samples
from assay.errors import InputError
from assay.models.samplers.decoding import CausalDecoding

IDS, NOISY = "thought_ids", "thought_noisy"  # in `Samples.extra`: `[B,N,max_tokens,K]`


class SoftDecoding(CausalDecoding):
    """The decoding state of a policy with soft thoughts, see CausalDecoding."""

    policy: Any

    def __init__(self, policy: Any, *given: Any):
        super().__init__(policy, *given)
        shape = (*self.action.shape, policy.thoughts.top_k)
        self.ids = torch.zeros(shape, dtype=torch.int64, device=self.action.device)
        self.noisy = self.logp.new_full(shape, -torch.inf)
        self.thinking = torch.ones_like(self.ended)
        self._mixed: tuple[Tensor, Tensor, Tensor] | None = None
        self.closing = torch.tensor(policy.closing, device=self.action.device)

    def _thought(self) -> tuple[Tensor, Tensor, Tensor]:
        """The tokens of each row's next thought, their noisy log-probabilities, the largest."""
        if self._mixed is None:
            ids, logp = self.policy.support(self._log_probs())
            N, row = max(self.shape[1], 1), self.live[:, None]
            place = self.place[self.live, None]
            g = self.rng("thought").gumbel(row // N, row % N, place, ids).to(logp)
            if self.policy.thoughts.form == "surrogate":
                g = g.clamp(-1.5, 3.0)
            noisy = logp + g
            top = ids.gather(1, noisy.argmax(-1, keepdim=True))[:, 0]
            self._mixed = ids, noisy, top
        return self._mixed

    def _drawn(self) -> Int[Tensor, "R"]:
        plain = super()._drawn()
        if not bool(self.thinking[self.live].any()):
            return plain
        return torch.where(self.thinking[self.live], self._thought()[2], plain)

    def _put(self, tokens: Int[Tensor, "R"], into: Tensor) -> None:
        thinks = self.thinking[self.live]
        if not bool(thinks.any()):
            super()._put(tokens, into)
            return
        ids, noisy, top = self._thought()
        if into is not self.mask or bool((thinks & self.going & (tokens != top)).any()):
            raise InputError("a policy that thinks in mixtures draws its thoughts itself")
        soft = thinks & self.going & ~torch.isin(tokens, self.closing)
        rows = self.live[soft]
        at, K = self.place[rows], ids.shape[1]
        self.ids[rows, at, :K], self.noisy[rows, at, :K] = ids[soft], noisy[soft].to(self.noisy)
        done = at + 1 >= self.policy.thoughts.most
        still = torch.zeros_like(self.thinking)
        still[rows] = ~done
        super()._put(tokens, into)
        self.thinking, self._mixed = self.thinking & still, None

    def _said(self, here: Int[Tensor, "r"], token: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        rows = self.live[here]
        logp = self._log_probs()[here]
        out = logp.gather(1, token[:, None])[:, 0]
        at = self.place[rows]
        ids, noisy = self.ids[rows, at], self.noisy[rows, at]
        soft = (noisy > -torch.inf).any(-1)
        if bool(soft.any()):
            out[soft] = self.policy.density(logp[soft], ids[soft], noisy[soft])
        return out

    def _extended(self, tokens: Int[Tensor, "R"]) -> Float[Tensor, "R W"]:
        at = (self.place[self.live] - 1).clamp(min=0)
        ids, noisy = self.ids[self.live, at], self.noisy[self.live, at]
        soft = (noisy > -torch.inf).any(-1)
        if not bool(soft.any()):
            return super()._extended(tokens)
        if not hasattr(self.cache, "weights"):  # of a model of transformers
            with self.policy.thinking(ids[soft], noisy[soft]) as first:
                named = first + torch.arange(int(soft.sum()), device=tokens.device)
                return super()._extended(tokens.masked_scatter(soft, named))
        embed, stack, last = kept = self.cache.weights
        rows = self.policy.mixtures(ids[soft], noisy[soft], embed)
        tokens = tokens.masked_scatter(
            soft, len(embed) + torch.arange(len(rows), device=tokens.device)
        )
        self.cache.weights = (torch.cat([embed, rows]), stack, last)
        try:
            return super()._extended(tokens)
        finally:
            self.cache.weights = kept

    def select(self, index: Int[Tensor, "B K"]) -> None:
        """See Decoding."""
        (B, N) = self.shape
        old = (torch.arange(B, device=index.device)[:, None] * N + index).flatten()
        for name in ("ids", "noisy", "thinking"):
            setattr(self, name, getattr(self, name)[old])
        self._mixed = None
        super().select(index)

    def samples(self) -> Samples:
        """See Decoding; thoughts stand in `extra`, over all of `max_tokens`."""
        x = super().samples()
        both = {IDS: self.ids, NOISY: self.noisy}
        thoughts = {k: v.unflatten(0, self.shape).clone() for k, v in both.items()}
        return replace(x, extra={**x.extra, **thoughts})
