"""Token-by-token decoding of a language model.

Completions that have ended leave the computation, and no number changes: draws are by address.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.core.rng import Rng
from assay.engine import progress
from assay.errors import InputError
from assay.models.samplers.categorical import inverse_cdf


@runtime_checkable
class TokenModel(Protocol):
    """What decoding asks of a language-model policy.

    Attributes:
        backbone: A Backbone.
        vocabulary: `pad`, `eos`, and `ends`: the tokens that end a completion.
        max_tokens: Of a completion, at most.
        min_tokens: Of a completion, before it may end.
        keeps_states: Whether the hidden state that a decision follows is kept, as
            `extra["hidden"]`.
    """

    backbone: Any
    vocabulary: Any
    max_tokens: int
    min_tokens: int
    keeps_states: bool

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of what is computed."""
        ...

    def log_probs(
        self, hidden: Float[Tensor, "n W"], place: Int[Tensor, "n"]
    ) -> Float[Tensor, "n V"]:
        """Compute log-probabilities of every token after these hidden states."""
        ...


class CausalDecoding:
    """The decoding state of a language model, see Decoding.

    Rows r = b·N + n; the cache holds those of `live`, of which `going` are still open; the others
    leave when `leave` of all can. Uniform numbers are made for the next `ahead` places at once: a
    few dozen small operations then serve many steps.

    Args:
        policy: The language model.
        prompts: B prompts.
        n: Completions a prompt, a number or `[B]`.
        rng: The address of the draws.
        start: Completions to continue.

    Raises:
        InputError: `start` has another shape than the completions.
    """

    leave, ahead = 0.125, 16

    def __init__(
        self, policy: TokenModel, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None
    ):
        B, T, device = len(prompts), policy.max_tokens, prompts.tokens.device
        N = int(n.max()) if isinstance(n, Tensor) else n
        self.policy, self.prompts, self.rng, self.shape = policy, prompts, rng, (B, N)
        self.ends = torch.tensor(policy.vocabulary.ends, device=device)
        limit = (
            n.to(device)[:, None] if isinstance(n, Tensor) else torch.full((B, 1), N, device=device)
        )
        wanted = (torch.arange(N, device=device) < limit).flatten()
        self.action = torch.full((B * N, T), policy.vocabulary.pad, device=device)
        self.mask, self.given = (
            torch.zeros(B * N, T, dtype=torch.bool, device=device) for _ in range(2)
        )
        self.logp = torch.zeros(B * N, T, dtype=policy.like.dtype, device=device)
        self.ended = torch.zeros(B * N, dtype=torch.bool, device=device)
        self.states: Tensor | None = None  # [B·N,T,W], where they are kept
        if policy.keeps_states and start is None:
            self.states = self.logp.new_zeros(B * N, T, policy.backbone.width)
        if start is not None:
            self._begin(start, wanted)
        self.place = (self.mask | self.given).sum(-1)
        self._open = wanted & ~self.ended & (self.place < T)  # [B·N]
        self.live = self._open.nonzero()[:, 0]
        self.going = torch.ones_like(self.live, dtype=torch.bool)
        owner = self.live // max(N, 1)
        with progress.stage("prefilling prompts", B, "prompts") as reading:
            reading.upcoming(B)
            hidden, self.cache = policy.backbone.prefill(prompts.tokens, prompts.mask, owner, T)
            reading.advance(B)
        self.hidden = hidden[owner]
        if start is not None and len(self.live):
            S = max(1, int(self.place[self.live].max()))
            there = torch.arange(S, device=device) < self.place[self.live, None]
            read = policy.backbone.extend(self.cache, self.action[self.live, :S], there)
            last = read[
                torch.arange(len(self.live), device=device),
                (self.place[self.live] - 1).clamp(min=0),
            ]
            self.hidden = torch.where(there[:, :1], last, self.hidden)
        self._next: Tensor | None = None
        self._u: Tensor | None = None  # of the next places of `live`, [R, at most `ahead`]

    def _begin(self, start: Samples, wanted: Tensor) -> None:
        (B, N), (b, s, had) = self.shape, start.mask.shape
        T = self.mask.shape[1]
        if b != B or s not in (1, N) or had > T:
            raise InputError(
                f"completions to continue have shape {[b, s, had]}, not [{B}, 1 or {N}, at most "
                f"{T}]"
            )

        def put(into: Tensor, what: Tensor) -> None:
            rows = what.expand(B, N, *what.shape[2:]).flatten(0, 1)
            here = into[:, :had] if into.dim() == 2 else into
            here[wanted] = rows[wanted].to(into.dtype)

        for name in ("action", "mask", "given", "logp", "ended"):
            put(getattr(self, name), getattr(start, name))
        self.action = torch.where(self.mask | self.given, self.action, self.policy.vocabulary.pad)

    @property
    def open(self) -> Bool[Tensor, "B N"]:
        """Completions that are wanted and have a decision left."""
        return self._open.unflatten(0, self.shape)

    # ---- the next decision

    def _log_probs(self) -> Float[Tensor, "R V"]:
        if self._next is None:
            with torch.no_grad():
                self._next = self.policy.log_probs(self.hidden, self.place[self.live])
        return self._next

    def _drawn(self) -> Int[Tensor, "R"]:
        if self._u is None or not self._u.shape[1]:
            N, row = max(self.shape[1], 1), self.live[:, None]
            places = self.place[self.live, None] + torch.arange(self.ahead, device=row.device)
            self._u = self.rng.uniform(row // N, row % N, places, dtype=torch.float64)
        return inverse_cdf(self._log_probs(), self._u[:, 0])

    def next_logprobs(self) -> Float[Tensor, "B N V"]:
        """See Decoding; a completion that is not open has the end token alone."""
        logp = self._log_probs()
        out = logp.new_full((self._open.shape[0], logp.shape[1]), -torch.inf)
        out[:, self.policy.vocabulary.eos] = 0
        out[self.live[self.going]] = logp[self.going]
        return out.unflatten(0, self.shape)

    def draw(self) -> Int[Tensor, "B N"]:
        """See Decoding; the end token where a completion is not open."""
        out = torch.full_like(self.place, self.policy.vocabulary.eos)
        out[self.live[self.going]] = self._drawn()[self.going]
        return out.unflatten(0, self.shape)

    # ---- going on

    def step(self) -> bool:
        """Draw and append, for all that are open; return False, and do nothing, when none is."""
        if not len(self.live):
            return False
        self._put(self._drawn(), self.mask)
        return True

    def append(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding."""
        if len(self.live):
            self._put(tokens.flatten()[self.live], self.mask)

    def force(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding; an end token ends the completion."""
        if len(self.live):
            self._put(tokens.flatten()[self.live], self.given)

    def _put(self, tokens: Int[Tensor, "R"], into: Tensor) -> None:
        here = self.going.nonzero()[:, 0]
        rows, token = self.live[here], tokens[here]
        at = self.place[rows]
        self.action[rows, at], into[rows, at] = token, True
        if into is self.mask:
            self.logp[rows, at] = self._said(here, token)
            if self.states is not None:
                self.states[rows, at] = self.hidden[here].to(self.states)
        self.place[rows] = at + 1
        end = torch.isin(token, self.ends)
        self.ended[rows] = end
        self._open[rows] = ~end & (at + 1 < self.mask.shape[1])
        self.going, self._next, self._u = (
            self._open[self.live],
            None,
            None if self._u is None else self._u[:, 1:],
        )
        stay = self._staying()
        if stay is not None:
            tokens = tokens[stay]
            self._keep(stay)
        if len(self.live):
            self.hidden = self._extended(tokens)

    def _said(self, here: Int[Tensor, "r"], token: Int[Tensor, "r"]) -> Float[Tensor, "r"]:
        """Log-probability of what these rows of `live` take."""
        return self._log_probs()[here, token]

    def _extended(self, tokens: Int[Tensor, "R"]) -> Float[Tensor, "R W"]:
        """The hidden states after another token of each row."""
        read: Tensor = self.policy.backbone.extend(self.cache, tokens[:, None], self.going[:, None])
        return read[:, 0]

    def _staying(self) -> Int[Tensor, "r"] | None:
        """Return the rows of the cache to keep, if it pays that the others leave.

        A few that have ended may stay, where the backbone says how many rows it computes as
        cheaply.
        """
        R, still = len(self.live), int(self.going.sum())
        fits = getattr(self.policy.backbone, "fits", None)
        to = min(R, fits(still) if fits else still)
        if still and R - to <= self.leave * R:
            return None
        stays = self.going.clone()
        stays[(~self.going).nonzero()[: to - still, 0]] = True
        return stays.nonzero()[:, 0]

    def _keep(self, rows: Int[Tensor, "R"]) -> None:
        """Keep these rows of the cache."""
        self.live, self.going, self.hidden = self.live[rows], self.going[rows], self.hidden[rows]
        self._u = None if self._u is None else self._u[rows]
        self.cache.select(rows)

    def select(self, index: Int[Tensor, "B K"]) -> None:
        """See Decoding."""
        (B, N), K = self.shape, index.shape[1]
        old = (torch.arange(B, device=index.device)[:, None] * N + index).flatten()
        at = torch.full_like(self.place, -1)
        at[self.live] = torch.arange(len(self.live), device=at.device)
        for name in ("action", "mask", "given", "logp", "ended", "_open", "place"):
            setattr(self, name, getattr(self, name)[old])
        if self.states is not None:
            self.states = self.states[old]
        self._keep(at[old][self._open])
        self.shape, self.live, self._next, self._u = (B, K), self._open.nonzero()[:, 0], None, None

    def samples(self) -> Samples:
        """See Decoding; what has neither ended nor reached `max_tokens` is not ended."""
        T = max(1, int(self.place.max())) if self.place.numel() else 1
        action, mask, given, logp = (
            t[:, :T].unflatten(0, self.shape).clone()
            for t in (self.action, self.mask, self.given, self.logp)
        )
        ended = self.ended.unflatten(0, self.shape).clone()
        extra = (
            {}
            if self.states is None
            else {"hidden": self.states[:, :T].unflatten(0, self.shape).clone()}
        )
        return Samples(self.prompts, action, mask, given, logp, ended, extra)
