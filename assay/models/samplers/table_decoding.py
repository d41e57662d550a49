"""Completions in the making whose decisions are independent: the decoding state of a table."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.core.rng import Rng
from assay.errors import InputError


class TableDecoding:
    """The decoding state of a table, see Decoding.

    Args:
        table: log π of one decision, for each prompt.
        length: Decisions of a completion.
        prompts: B prompts.
        n: Completions a prompt, a number or `[B]`.
        rng: The address of the draws.
        start: Completions to continue.

    Raises:
        InputError: `start` has another shape than the completions.
    """

    def __init__(
        self,
        table: Float[Tensor, "B V"],
        length: int,
        prompts: Prompts,
        n: int | Tensor,
        rng: Rng,
        start: Samples | None,
    ):
        self.table, self.length, self.prompts, self.rng = table, length, prompts, rng
        B, T, device = len(prompts), length, prompts.row.device
        N = int(n.max()) if isinstance(n, Tensor) else n
        cumulated = table.double().exp().cumsum(-1)
        self.cdf = cumulated / cumulated[:, -1:]  # the last entry is exactly 1, and u < 1
        limit = (
            n.to(device)[:, None] if isinstance(n, Tensor) else torch.full((B, 1), N, device=device)
        )
        self.wanted = torch.arange(N, device=device) < limit  # [B,N]
        self.action = torch.zeros(B, N, T, dtype=torch.int64, device=device)
        self.mask, self.given = (
            torch.zeros(B, N, T, dtype=torch.bool, device=device) for _ in range(2)
        )
        self.logp = torch.zeros(B, N, T, dtype=self.table.dtype, device=device)
        if start is not None:
            had = start.mask.shape[2]
            if had > T or start.mask.shape[1] not in (1, N):
                raise InputError(
                    f"completions to continue have shape {list(start.mask.shape)}, not [B, 1 or "
                    f"{N}, at most {T}]"
                )
            here = self.wanted[:, :, None]
            self.action[:, :, :had] = start.action * here
            self.mask[:, :, :had], self.given[:, :, :had] = start.mask & here, start.given & here
            self.logp[:, :, :had] = torch.where(here, start.logp, start.logp.new_zeros(()))
        self.place = (self.mask | self.given).sum(-1)  # next decision of each completion [B,N]

    @property
    def open(self) -> Tensor:
        """Completions that are wanted and have a decision left."""
        return self.wanted & (self.place < self.length)

    def uniform(self, t: Tensor) -> Tensor:
        """Draw u(row, completion, t) `[B,N,T]`.

        In float64: a rare token's probability may lie below float32's grain.
        """
        B, N = self.wanted.shape
        device = self.wanted.device
        b, n = (
            torch.arange(B, device=device)[:, None, None],
            torch.arange(N, device=device)[None, :, None],
        )
        return self.rng.uniform(b, n, t, dtype=torch.float64)

    def next_logprobs(self) -> Float[Tensor, "B N V"]:
        """See Decoding."""
        return self.table[:, None].expand(-1, self.wanted.shape[1], -1)

    def draw(self) -> Int[Tensor, "B N"]:
        """See Decoding."""
        u = self.uniform(self.place[:, :, None].clamp(max=self.length - 1))[:, :, 0]
        return torch.searchsorted(self.cdf, u, right=True).clamp(max=self.cdf.shape[1] - 1)

    def append(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding."""
        b, n, at = self._put(tokens, self.mask)
        self.logp[b, n, at] = self.table[b, tokens[b, n]]

    def force(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding."""
        self._put(tokens, self.given)

    def _put(self, tokens: Tensor, into: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n = self.open.nonzero(as_tuple=True)
        at = self.place[b, n]
        self.action[b, n, at], into[b, n, at] = tokens[b, n], True
        self.place[b, n] += 1
        return b, n, at

    def select(self, index: Int[Tensor, "B K"]) -> None:
        """See Decoding."""
        wide = index[:, :, None].expand(-1, -1, self.length)
        self.action, self.mask = self.action.gather(1, wide), self.mask.gather(1, wide)
        self.given, self.logp = self.given.gather(1, wide), self.logp.gather(1, wide)
        self.place, self.wanted = self.place.gather(1, index), self.wanted.gather(1, index)

    def filled(self, tokens: Int[Tensor, "B N T"]) -> Samples:
        """Write every decision that is left, at once."""
        t = torch.arange(self.length, device=tokens.device)
        own = self.wanted[:, :, None] & (t >= self.place[:, :, None])
        each = self.table.gather(1, tokens.flatten(1)).reshape(tokens.shape)
        self.action, self.logp = (
            torch.where(own, tokens, self.action),
            torch.where(own, each, self.logp),
        )
        self.mask = self.mask | own
        self.place = (self.mask | self.given).sum(-1)
        return self.samples()

    def samples(self) -> Samples:
        """See Decoding; a completion is ended when it has all its decisions."""
        return Samples(
            self.prompts,
            self.action.clone(),
            self.mask.clone(),
            self.given.clone(),
            self.logp.clone(),
            self.wanted & (self.place == self.length),
        )
