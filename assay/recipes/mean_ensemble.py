"""Train against the mean of M reward models.

Differs from leave_one_out in the score, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import mean
from assay.loops import member_scores, online
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Reward Model Ensembles Help Mitigate Overoptimization",
    "Coste et al.",
    2023,
    "arXiv:2310.02743",
)
reduces = {"leave_one_out": ({"members": 1}, {})}


def recipe(
    task: Task, *, members: int = 0, in_turn: bool = False, loop: Loop = Loop()
) -> Iterator[Step]:
    """Train against the mean score and yield the policy after each step.

    Args:
        members: Reward models to use, counted from the first; 0 for all.
        in_turn: Score each of a prompt's completions by one member, in turn, instead of by the mean
            of all: the negative control, which asks as many members and averages nothing.
    """
    scores = member_scores(task, members)

    def score(x: Samples):
        r = scores(x)
        return one_each(r) if in_turn else mean(r)  # new in this paper

    yield from online(task, loop, score=score)


def one_each(r: Float[Tensor, "M B N"]) -> Float[Tensor, "B N"]:
    """The n-th completion's score by member n mod M."""
    M, _, N = r.shape
    return r[torch.arange(N) % M, :, torch.arange(N)].T


@Claim(
    "At equal KL, the mean of an ensemble keeps more gold than one of its members, and than its "
    "members in turn.",
    arms={
        "mine": ("mean_ensemble", {}),
        "single": ("leave_one_out", {}),
        "in turn": ("mean_ensemble", {"in_turn": True}),
    },
    turns="single",
    least={"over single": 0.1, "over in turn": 0.0},
    seeds={"table": "100..139"},
    control=("over in turn",),
    broken="the same members, one for each completion, so that nothing is averaged",
    differs={
        "scored": "an ensemble scores every completion with each of its members",
        "seconds": "it scores more",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the range of √KL that both runs reached: to one member, and to the
    members in turn.
    """
    mine = arms["mine"]
    return {f"over {name}": matched_gain(mine, arms[name]) for name in ("single", "in turn")}
