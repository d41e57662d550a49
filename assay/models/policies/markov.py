"""A policy in a small Markov decision process: one softmax row a state, and the process it acts in.

An answer is an episode: its decisions are actions, `extra["state"] [B,N,T+1]` are the states it
passed through, and its prompt is the state it starts in. What the world does is drawn from
addresses too, so an episode is a function of its place. Transition probabilities cancel from every
ratio of policies, so KL is exact by enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Policy, Prompts, Samples
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.occupancy import occupancy, state_laws


@dataclass(frozen=True)
class Process:
    """What an agent may know of a decision process: everything but what it is worth.

    P `[S,A,S]`; `terminal [S]`, whose states lead to themselves; `start [S]`, how often an episode
    begins where; `horizon` steps at most; `gamma`. All in float64.
    """

    P: Float[Tensor, "S A S"]
    terminal: Bool[Tensor, "S"]
    start: Float[Tensor, "S"]
    horizon: int
    gamma: float
    states: tuple[str, ...]
    actions: tuple[str, ...]

    def __post_init__(self) -> None:
        S, A, _ = self.P.shape
        if (len(self.states), len(self.actions)) != (S, A):
            raise InputError(
                f"transitions of {S} states and {A} actions have {len(self.states)} and "
                f"{len(self.actions)} names"
            )
        off = (self.P.sum(-1) - 1).abs().amax(-1)
        if float(off.max()) > 1e-9 or float(self.P.min()) < 0:
            raise InputError(
                f"transitions from state '{self.states[int(off.argmax())]}' are no probabilities"
            )
        ends = self.terminal.nonzero()[:, 0]
        if not bool((self.P[ends, :, ends] == 1).all()):
            raise InputError("a terminal state leads elsewhere; it must lead to itself")

    def __call__(self, ids: list[int]) -> str:
        """Actions, and from id A on states, as words."""
        return " ".join((*self.actions, *self.states)[i] for i in ids)

    def prompts(self, states: Int[Tensor, "B"], rows: Int[Tensor, "B"]) -> Prompts:
        """One prompt an episode's first state."""
        tokens = (len(self.actions) + states)[:, None]
        return Prompts(
            tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), row=rows, decode=self
        )

    def first(self, prompts: Prompts) -> Int[Tensor, "B"]:
        """The state that each prompt starts in."""
        return prompts.tokens[:, -1] - len(self.actions)

    def every(self) -> Samples:
        """Each state-action once, as one prompt's S·A answers of one decision: asks a reward for
        its whole table.
        """
        S, A = len(self.states), len(self.actions)
        state = torch.arange(S).repeat_interleave(A)
        action = torch.arange(A).repeat(S)[None, :, None]
        mask = torch.ones_like(action, dtype=torch.bool)
        return Samples(
            self.prompts(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)),
            action,
            mask,
            ~mask,
            torch.zeros(action.shape, dtype=torch.float64),
            mask[..., 0],
            extra={"state": torch.stack([state, state], -1)[None]},
        )


class MarkovPolicy(nn.Module):
    """π(a|s) = softmax(logits[s])_a in a Process, whose structure is `policy.process`."""

    kl_kind = "exact"

    def __init__(self, logits: Float[Tensor, "S A"], process: Process):
        super().__init__()
        if logits.shape != process.P.shape[:2]:
            raise InputError(
                f"logits of shape {list(logits.shape)} do not fit {process.P.shape[0]} states and "
                f"{process.P.shape[1]} actions"
            )
        self.logits = nn.Parameter(logits.detach().clone())
        self.process = process

    def copy(self) -> MarkovPolicy:
        """A trainable copy."""
        return MarkovPolicy(self.logits, self.process)

    def probs(self) -> Float[Tensor, "S A"]:
        """π in float64, differentiable."""
        return self.logits.double().softmax(-1)

    def occupancy(self) -> Float[Tensor, "S A"]:
        """Exact occupancy μ from the process's own starts, discounted as its return is;
        differentiable.
        """
        p = self.process
        return occupancy(self.probs(), p.P, p.start, horizon=p.horizon, gamma=p.gamma)

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Action by action, by the inverse distribution function at u(row, answer, decision); the
        world's moves likewise.
        """
        with torch.no_grad():
            walk = self.walk(prompts, n, rng, start)
            while bool(walk.open.any()):
                walk.take(walk.draw())
            return walk.samples()

    def walk(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> MarkovWalk:
        """Episodes in the making; drawing every action by `draw` gives `sample`."""
        return MarkovWalk(self, prompts, n, rng, start)

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """log π(a_t|s_t), differentiable; 0 where there is no decision."""
        each = self.logits.log_softmax(-1)[states(samples)[..., :-1], samples.action]
        return torch.where(samples.mask, each, each.new_zeros(()))

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Exact KL of whole episodes from each prompt's state, in nats: Σ_t
        E[KL(π(·|s_t)‖π₀(·|s_t))] until they end.
        """
        if not isinstance(reference, MarkovPolicy):
            raise InputError(
                "the exact KL of a Markov policy is to another one, not to a "
                f"{type(reference).__name__}"
            )
        return (
            self.kl_from(reference, self.process.first(samples.prompts))[:, None]
            .expand(samples.mask.shape[:2])
            .clone()
        )

    def kl_from(self, reference: MarkovPolicy, first: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """KL of an episode that begins in these states, differentiable."""
        p = self.process
        each = kl_full(self.logits.double(), reference.logits.double())
        each = torch.where(p.terminal, each.new_zeros(()), each)
        laws = state_laws(
            self.probs(),
            p.P,
            torch.eye(len(p.states), dtype=torch.float64)[first],
            horizon=p.horizon,
        )
        return (laws[:-1].sum(0) @ each).to(self.logits.dtype)

    def scorer(self, k: int, rng: Rng) -> MarkovScorer:
        """A fresh value of state and time, k outputs."""
        return MarkovScorer(k, self.process, rng, self.logits.dtype)

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """Not possible: raises InputError."""
        raise InputError(
            "episodes cannot be read from text: the words are actions, and the states between them "
            "are not there"
        )


def states(samples: Samples) -> Int[Tensor, "B N T1"]:
    """The states that episodes passed through. Raises InputError where these answers are no
    episodes.
    """
    if "state" not in samples.extra:
        raise InputError(
            'these answers carry no states (extra["state"]); this needs a decision process, such '
            "as "
            "--world table --world.testbed tomato"
        )
    return samples.extra["state"]


def acting(policy: Policy) -> MarkovPolicy:
    """The policy, if it acts in a decision process. Raises InputError where it does not."""
    if not isinstance(policy, MarkovPolicy):
        raise InputError(
            "this needs a decision process, such as --world table --world.testbed tomato, and "
            f"the policy is a {type(policy).__name__}"
        )
    return policy


class MarkovWalk:
    """Episodes in the making: `dist` the next action, `take` or `give` one to each, `pick`
    particles, `samples`.
    """

    def __init__(
        self,
        policy: MarkovPolicy,
        prompts: Prompts,
        n: int | Tensor,
        rng: Rng,
        start: Samples | None,
    ):
        self.policy, self.process, self.prompts = policy, policy.process, prompts
        B, T = len(prompts), self.process.horizon
        N = int(n.max()) if isinstance(n, Tensor) else n
        self.table = policy.logits.detach().log_softmax(-1)
        cumulated = self.table.double().exp().cumsum(-1)
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
                    f"episodes to go on from have shape {list(start.mask.shape)}, not [B, 1 or "
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

    def dist(self) -> Float[Tensor, "B N V"]:
        """Probabilities of the next action."""
        return self.table.exp()[self.now]

    def draw(self) -> Int[Tensor, "B N"]:
        """The actions that `sample` would take next."""
        return _inverse(self.cdf[self.now], self._here(self.chance))

    def take(self, tokens: Int[Tensor, "B N"]) -> None:
        """One own decision a still open episode."""
        slot, now = self._put(tokens, self.mask)
        self.logp = torch.where(slot, self.table[now, tokens][..., None], self.logp)

    def give(self, tokens: Int[Tensor, "B N"]) -> None:
        """One action a still open episode that is not the policy's choice."""
        self._put(tokens, self.given)

    def _here(self, u: Float[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
        """Each episode's uniform number of its present step."""
        return u.gather(2, self.place[..., None].clamp(max=u.shape[2] - 1))[..., 0]

    def _put(self, tokens: Tensor, into: Tensor) -> tuple[Tensor, Tensor]:
        """Write an action and where it leads; which places were written, and the states it was
        chosen in.
        """
        now, here, place = self.now, self.open[..., None], self.place[..., None]
        after = _inverse(self.moves[now, tokens], self._here(self.fate))
        slot = here & (self.steps[:-1] == place)
        self.action = torch.where(slot, tokens[..., None], self.action)
        into |= slot
        self.state = torch.where(here & (self.steps > place), after[..., None], self.state)
        self.place = self.place + here[..., 0]
        return slot, now

    def pick(self, index: Int[Tensor, "B K"]) -> None:
        """K of each prompt's episodes go on, by their place in N; addresses follow the new places."""
        for name in ("action", "mask", "given", "logp", "state"):
            old = getattr(self, name)
            setattr(self, name, old.gather(1, index[:, :, None].expand(-1, -1, old.shape[2])))
        self.place, self.wanted = self.place.gather(1, index), self.wanted.gather(1, index)

    def samples(self) -> Samples:
        """The episodes so far; one has ended when it is over or its time is: the horizon belongs to
        the task.
        """
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
    """The first place whose cumulative probability exceeds u."""
    return torch.searchsorted(cdf, u[..., None], right=True)[..., 0].clamp(max=cdf.shape[-1] - 1)


class MarkovScorer(nn.Module):
    """v_t = weight[s_t] + bias[t], k outputs, entry t before decision t."""

    def __init__(self, k: int, process: Process, rng: Rng, dtype: torch.dtype):
        super().__init__()
        s, t, j = (
            torch.arange(len(process.states)),
            torch.arange(process.horizon + 1),
            torch.arange(k),
        )
        self.weight = nn.Parameter(0.01 * rng("weight").normal(s[:, None], j, dtype=dtype))
        self.bias = nn.Parameter(0.01 * rng("bias").normal(t[:, None], j, dtype=dtype))

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        at = states(samples)
        return self.weight[at] + self.bias[: at.shape[2]]


def renamed(process: Process, *, horizon: int = 0, gamma: float = 0.0) -> Process:
    """The process with another horizon or discount; 0 keeps its own."""
    return replace(process, horizon=horizon or process.horizon, gamma=gamma or process.gamma)
