"""A small Markov decision process, and the states of its episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError


@dataclass(frozen=True)
class Process:
    """What an agent may know of a decision process: everything but what it is worth.

    Attributes:
        P: Transition probabilities, in float64.
        terminal: States that lead to themselves.
        start: How often an episode begins in each state.
        horizon: Steps of an episode, at most.
        gamma: The discount.
        states: Names.
        actions: Names.
        aim: What the agent is to do, in a sentence; empty where nobody wrote it.
        texts: What each state looks like, in sentences; empty where nobody wrote them.
        subgoals: By a phrase such as "pick up the key", which transitions reach it `[S,S]`, as an
            annotator would say.

    Raises:
        InputError: Transitions are no probabilities, or a terminal state leads elsewhere.
    """

    P: Float[Tensor, "S A S"]
    terminal: Bool[Tensor, "S"]
    start: Float[Tensor, "S"]
    horizon: int
    gamma: float
    states: tuple[str, ...]
    actions: tuple[str, ...]
    aim: str = ""
    texts: tuple[str, ...] = ()
    subgoals: Mapping[str, Bool[Tensor, "S S"]] = field(default_factory=dict)

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
        """Decode actions, and from id A on states, to words."""
        return " ".join((*self.actions, *self.states)[i] for i in ids)

    def prompts(self, states: Int[Tensor, "B"], rows: Int[Tensor, "B"]) -> Prompts:
        """Return one prompt for each episode's first state."""
        tokens = (len(self.actions) + states)[:, None]
        return Prompts(
            tokens=tokens, mask=torch.ones_like(tokens, dtype=torch.bool), row=rows, decode=self
        )

    def first(self, prompts: Prompts) -> Int[Tensor, "B"]:
        """Return the state that each prompt starts in."""
        return prompts.tokens[:, -1] - len(self.actions)

    def every(self) -> Samples:
        """Return each state-action once, as one prompt's S·A completions of one decision.

        Scoring it gives a reward's whole table.
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


def states(samples: Samples) -> Int[Tensor, "B N T1"]:
    """Return the states that episodes passed through.

    Raises:
        InputError: These completions are no episodes.
    """
    if "state" not in samples.extra:
        raise InputError(
            'these completions carry no states (extra["state"]); this needs a decision process, '
            "such as "
            "--world table --world.testbed tomato"
        )
    return samples.extra["state"]


def renamed(process: Process, *, horizon: int = 0, gamma: float = 0.0) -> Process:
    """Return the process with another horizon or discount; 0 keeps its own.

    Args:
        process: Any process; it is left as it is.
        horizon: Steps of an episode, at most. Default: 0.
        gamma: The discount. Default: 0.
    """
    return replace(process, horizon=horizon or process.horizon, gamma=gamma or process.gamma)
