"""Episodes in the making: the decoding state of a policy in a decision process."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.models.process import Process, states


class MarkovDecoding:
    """The decoding state of episodes, see Decoding.

    Args:
        table: log π of every action in every state.
        process: What the episodes are in.
        prompts: The states that they begin in.
        n: Episodes a prompt, a number or `[B]`.
        rng: The address of actions, and of the world's moves.
        start: Episodes to continue.

    Raises:
        InputError: `start` has another shape than the episodes.
    """

    def __init__(
        self,
        table: Float[Tensor, "S A"],
        process: Process,
        prompts: Prompts,
        n: int | Tensor,
        rng: Rng,
        start: Samples | None,
    ):
        self.table, self.process, self.prompts = table, process, prompts
        B, T = len(prompts), self.process.horizon
        N = int(n.max()) if isinstance(n, Tensor) else n
        cumulated = table.double().exp().cumsum(-1)
        self.cdf = cumulated / cumulated[:, -1:]
        moved = self.process.P.cumsum(-1)
        self.moves = moved / moved[..., -1:]
        self.steps = torch.arange(T + 1)
        at = (torch.arange(B)[:, None, None], torch.arange(N)[:, None], self.steps[:-1])
        self.chance, self.fate = (r.uniform(*at, dtype=torch.float64) for r in (rng, rng("world")))
        limit = n[:, None] if isinstance(n, Tensor) else torch.full((B, 1), N)
        self.wanted = torch.arange(N) < limit
        self.action = torch.zeros(B, N, T, dtype=torch.int64)
        self.mask, self.given = (torch.zeros(B, N, T, dtype=torch.bool) for _ in range(2))
        self.logp = torch.zeros(B, N, T, dtype=self.table.dtype)
        self.state = self.process.first(prompts)[:, None, None].repeat(1, N, T + 1)
        if start is not None:
            had = start.mask.shape[2]
            if had > T or start.mask.shape[1] not in (1, N):
                raise InputError(
                    f"episodes to continue have shape {list(start.mask.shape)}, not [B, 1 or "
                    f"{N}, at most {T}]"
                )
            here = self.wanted[:, :, None]
            self.action[:, :, :had] = start.action * here
            self.mask[:, :, :had], self.given[:, :, :had] = start.mask & here, start.given & here
            self.logp[:, :, :had] = torch.where(here, start.logp, start.logp.new_zeros(()))
            self.state[:, :, : had + 1] = states(start)[:, :, : had + 1].expand(B, N, had + 1)
        self.place = (self.mask | self.given).sum(-1)
        now = self.state.gather(2, self.place[..., None])
        self.state = torch.where(self.steps > self.place[..., None], now, self.state)

    @property
    def now(self) -> Int[Tensor, "B N"]:
        """The state each episode is in."""
        return self.state[..., -1]  # a state is written into all later places as it is entered

    @property
    def open(self) -> Bool[Tensor, "B N"]:
        """Episodes that are wanted, not over, and have a step left."""
        return self.wanted & (self.place < self.process.horizon) & ~self.process.terminal[self.now]

    def next_logprobs(self) -> Float[Tensor, "B N V"]:
        """See Decoding."""
        return self.table[self.now]

    def draw(self) -> Int[Tensor, "B N"]:
        """See Decoding."""
        return _inverse(self.cdf[self.now], self._here(self.chance))

    def append(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding."""
        slot, now = self._put(tokens, self.mask)
        self.logp = torch.where(slot, self.table[now, tokens][..., None], self.logp)

    def force(self, tokens: Int[Tensor, "B N"]) -> None:
        """See Decoding."""
        self._put(tokens, self.given)

    def _here(self, u: Float[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
        """Return each episode's uniform number of its present step."""
        return u.gather(2, self.place[..., None].clamp(max=u.shape[2] - 1))[..., 0]

    def _put(self, tokens: Tensor, into: Tensor) -> tuple[Tensor, Tensor]:
        """Write an action and where it leads.

        Returns:
            Which places were written, and the states in which the action was chosen.
        """
        now, here, place = self.now, self.open[..., None], self.place[..., None]
        after = _inverse(self.moves[now, tokens], self._here(self.fate))
        slot = here & (self.steps[:-1] == place)
        self.action = torch.where(slot, tokens[..., None], self.action)
        into |= slot
        self.state = torch.where(here & (self.steps > place), after[..., None], self.state)
        self.place = self.place + here[..., 0]
        return slot, now

    def select(self, index: Int[Tensor, "B K"]) -> None:
        """See Decoding."""
        for name in ("action", "mask", "given", "logp", "state"):
            old = getattr(self, name)
            setattr(self, name, old.gather(1, index[:, :, None].expand(-1, -1, old.shape[2])))
        self.place, self.wanted = self.place.gather(1, index), self.wanted.gather(1, index)

    def samples(self) -> Samples:
        """See Decoding; an episode has ended when it is over or at the horizon."""
        return Samples(
            self.prompts,
            self.action.clone(),
            self.mask.clone(),
            self.given.clone(),
            self.logp.clone(),
            self.wanted & ~self.open,
            extra={"state": self.state.clone()},
        )


def _inverse(cdf: Tensor, u: Tensor) -> Tensor:
    """Return the first place whose cumulative probability exceeds u."""
    return torch.searchsorted(cdf, u[..., None], right=True)[..., 0].clamp(max=cdf.shape[-1] - 1)
