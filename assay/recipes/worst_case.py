"""Worst-case optimisation (WCO): train against the lowest score of an ensemble.

Differs from mean_ensemble in one line: r = min_m r_m.

The minimum needs reward models on one scale and without constants of their own for each prompt. The
worlds' members are standardised on the reference's completions. What remains of their constants, in
units of a score's standard deviation: none in the bag, 0.1 in the bandit whose arms have features,
and 0.4 in grammar, whose centring term holds them only loosely.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import worst
from assay.loops import member_scores, online
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Reward Model Ensembles Help Mitigate Overoptimization",
    "Coste et al.",
    2023,
    "arXiv:2310.02743",
)
reduces = {"leave_one_out": ({"members": 1}, {})}


def recipe(task: Task, *, members: int = 0, loop: Loop = Loop()) -> Iterator[Step]:
    """Train against the lowest score and yield the policy after each step.

    Args:
        members: Reward models to use, counted from the first; 0 for all.
    """
    scores = member_scores(task, members)

    def score(x: Samples):
        return worst(scores(x))  # new in this paper

    yield from online(task, loop, score=score)


@Claim(
    "At equal KL, the worst case of an ensemble keeps more gold than one of its members, and than "
    "the members' mean.",
    arms={
        "mine": ("worst_case", {}),
        "single": ("leave_one_out", {}),
        "mean": ("mean_ensemble", {}),
    },
    turns="single",
    worlds=("table",),
    least={"over single": 0.1, "over mean": 0.0},
    seeds="100..139",
    control=("over mean",),
    broken="the mean of the same members, which averages as much and is not pessimistic",
    differs={
        "scored": "an ensemble scores every completion with each of its members",
        "seconds": "it scores more",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the range of √KL that both runs reached: to one member, and to the
    mean of all.
    """
    mine = arms["mine"]
    return {f"over {name}": matched_gain(mine, arms[name]) for name in ("single", "mean")}
