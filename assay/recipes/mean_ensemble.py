"""Train against the mean of M reward models.

Differs from leave_one_out in the score, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

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


def recipe(task: Task, *, members: int = 0, loop: Loop = Loop()) -> Iterator[Step]:
    """Train against the mean score and yield the policy after each step.

    Args:
        members: Reward models to use, counted from the first; 0 for all.
    """
    scores = member_scores(task, members)

    def score(x: Samples):
        return mean(scores(x))  # new in this paper

    yield from online(task, loop, score=score)


OWN = {"fit": "bradley_terry", "fit.centre": 0.0, "fit.bootstrap": True}  # a sample for each member


@Claim(
    "At equal KL, the mean of an ensemble keeps more gold than one of its members, and than one "
    "reward model fitted on all the pairs.",
    arms={
        "mine": ("mean_ensemble", OWN),
        "single": ("leave_one_out", OWN),
        "whole": ("leave_one_out", {**OWN, "fit.bootstrap": False}),
    },
    turns="single",
    worlds=("table",),
    least={"over single": 0.1, "over whole": 0.0},
    seeds="200..239",
    control=("over whole",),
    broken="one reward model of all the pairs that the members have seen together",
    differs={
        "scored": "an ensemble scores every completion with each of its members",
        "seconds": "it scores more",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the range of √KL that both runs reached: to one member, and to one
    reward model of all the pairs.
    """
    mine = arms["mine"]
    return {f"over {name}": matched_gain(mine, arms[name]) for name in ("single", "whole")}
