"""Transitions of completions as questions: did this step reach that subgoal?

In a decision process a step is a decision, and the world's texts tell of the states before and
after it. In a text with steps (worked solutions) a step is a line, and the text before it tells
where it begins; its only subgoal is to take the next step rightly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.core import Rng, Samples
from assay.errors import InputError
from assay.formulas.process import on_steps, step_mask, step_sums
from assay.models.process import Process, states

LINE = "continue the solution without a mistake"


@dataclass(frozen=True)
class Transitions:
    """The steps of N completions of each of B prompts, and G subgoals that they may reach.

    Attributes:
        step: The step that each decision belongs to, from 0; −1 if it belongs to no step.
        code: A number for what a step is: equal for equal transitions `[B, N, S]`.
        goal: What a step that reaches a subgoal has reached; paid once each `[B, N, S, G]`.
        truth: Which subgoals a step reaches, as the world's annotator says; None where nobody
            annotated these subgoals.
        tell: (b, n, s) to the question's lines before its last.
        subgoals: G phrases, such as "pick up the key".
    """

    step: Int[Tensor, "B N T"]
    code: Int[Tensor, "B N S"]
    goal: Int[Tensor, "B N S G"]
    truth: Bool[Tensor, "B N S G"] | None
    tell: Callable[[int, int, int], str]
    subgoals: tuple[str, ...]

    @property
    def there(self) -> Bool[Tensor, "B N S"]:
        """Which steps a completion has."""
        return step_mask(self.step)

    def questions(self) -> tuple[list[str], Int[Tensor, "B N S G"]]:
        """Every different question, and which of them each step and subgoal is.

        Returns:
            The questions, and their index; −1 where there is no step.
        """
        there = self.there
        code, first = torch.unique(self.code[there], return_inverse=True)
        place = there.nonzero()
        example = torch.zeros(len(code), dtype=torch.int64).scatter_(
            0, first, torch.arange(len(first))
        )
        told = [self.tell(*place[i].tolist()) for i in example.tolist()]
        texts = [f"{t}\n{asked(g)}" for t in told for g in self.subgoals]
        G = len(self.subgoals)
        index = torch.full((*there.shape, G), -1)
        index[there] = first[:, None] * G + torch.arange(G)
        return texts, index


def asked(subgoal: str) -> str:
    """The last line of a question."""
    return f"Did the agent {subgoal} in this step? Answer with yes or no."


def of_episodes(x: Samples, process: Process, subgoals: tuple[str, ...]) -> Transitions:
    """The decisions of episodes, told in the world's texts.

    Args:
        x: Episodes.
        process: What they were acted in; it has texts.
        subgoals: The phrases to ask for; truth is known where the annotator has all of them.

    Raises:
        InputError: Nobody described the process's states.
    """
    if not process.texts:
        raise InputError(
            "the states of this decision process are not described in words; use --world table "
            "--world.testbed grid"
        )
    at = states(x)
    before, after = at[..., :-1], at[..., 1:]
    S, A = len(process.states), len(process.actions)
    here = x.mask | x.given
    step = torch.where(here, here.long().cumsum(-1) - 1, -1)
    size = step_mask(step).shape[-1]
    code = ((before * A + x.action) * S + after)[..., :size]
    known = [process.subgoals.get(g) for g in subgoals]
    truth = None
    if all(k is not None for k in known):
        table = torch.stack([k for k in known if k is not None], -1)
        truth = table[before, after][..., :size, :]

    def tell(b: int, n: int, s: int) -> str:
        one, a, two = (int(v[b, n, s]) for v in (before, x.action, after))
        return (
            f"{process.aim}\nBefore: {process.texts[one]}\nAction: {process.actions[a]}\n"
            f"After: {process.texts[two]}"
        )

    goal = torch.arange(len(subgoals)).expand(*code.shape, -1)
    return Transitions(step, code, goal, truth, tell, subgoals)


def possible(process: Process) -> Samples:
    """Every transition that can happen, as the one decision of one of a prompt's completions."""
    before, action, after = ((process.P > 0) & ~process.terminal[:, None, None]).nonzero().T
    every = process.every()
    mask = torch.ones_like(action, dtype=torch.bool)[None, :, None]
    return replace(
        every,
        action=action[None, :, None],
        mask=mask,
        given=~mask,
        logp=torch.zeros(mask.shape, dtype=every.logp.dtype),
        ended=mask[..., 0],
        extra={"state": torch.stack([before, after], -1)[None]},
    )


def of_lines(x: Samples, step: Tensor, right: Tensor, rng: Rng) -> Transitions:
    """The lines of worked solutions, told as text. A line is a subgoal of its own, word for word.

    Args:
        x: Completions.
        step: The step that each token belongs to `[B, N, T]`.
        right: What each token's step is worth, above 0 where it is right `[B, N, T]`.
        rng: Address of the codes.
    """
    prompts, decode = x.prompts.text(), x.prompts.decode
    assert decode is not None  # text() made sure of it
    here = step >= 0
    length = step_sums(here.to(x.logp), step)
    begun = on_steps(length.cumsum(-1) - length, step).long()
    place = here.cumsum(-1) - 1

    def coded(rng: Rng, place: Tensor) -> Tensor:
        each = torch.where(here, rng.bits(x.action, place), 0)
        code = torch.zeros_like(length, dtype=torch.int64).scatter_add(-1, step.clamp(min=0), each)
        return code + rng("prompt").bits(x.prompts.row)[:, None, None]

    line = coded(rng("line"), place - begun)
    # what stood before it counts, too: the same line may be right once and wrong later
    code = line.cumsum(-1) + rng("step").bits(torch.arange(line.shape[-1]))

    def tell(b: int, n: int, s: int) -> str:
        ids = x.action[b, n]
        said = [decode(ids[step[b, n] == k].tolist()) for k in range(s + 1)]
        return f"{' '.join([prompts[b], *said[:-1]])}\nStep: {said[-1]}"

    return Transitions(
        step, code, line[..., None], (step_sums(right, step) > 0)[..., None], tell, (LINE,)
    )
