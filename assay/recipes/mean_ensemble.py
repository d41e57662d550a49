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


@Claim(
    "At equal KL, the mean of an ensemble keeps more gold than one of its members.",
    arms={"mine": ("mean_ensemble", {}), "single": ("leave_one_out", {})},
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold difference over the range of √KL that both runs reached."""
    return matched_gain(arms["mine"], arms["single"])
