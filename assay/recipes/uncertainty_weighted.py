"""Uncertainty-weighted ensemble (UWO): pay less where the judges disagree. Differs from
mean_ensemble in one line.

r = mean_m r_m − λ·Var_m r_m with the population variance, as in the paper's best-of-n code. Its PPO
code divides by M−1, so that the same λ is 25 % stronger there at M = 5: `released` does that, and
both are run. In its best-of-n code λ = 0 falls through to λ = 1; here 0 is the mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import uncertainty_weighted
from assay.loops.online import online, panel
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Reward Model Ensembles Help Mitigate Overoptimization",
    "Coste et al.",
    2023,
    "arXiv:2310.02743",
)
reduces = {"mean_ensemble": ({"lam": 0.0}, {})}


def recipe(
    task: Task, *, lam: float = 0.5, members: int = 0, released: bool = False, loop: Loop = Loop()
) -> Iterator[Step]:
    """lam: weight of the variance; members: how many of the task's judges to use, the first ones, 0
    for all; released: the variance divided by M−1.
    """
    judges = panel(task, members)
    M = members or len(task.rewards.names)
    weight = lam * M / (M - 1) if released and M > 1 else lam

    def score(x: Samples):
        return uncertainty_weighted(judges(x), lam=weight)  # new in this paper

    yield from online(task, loop, score=score)


@Claim(
    "At equal KL, the uncertainty-weighted ensemble keeps more gold than one of its members.",
    arms={
        "mine": ("uncertainty_weighted", {}),
        "released": ("uncertainty_weighted", {"released": True}),
        "single": ("leave_one_out", {}),
    },
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold difference over the range of √KL that both runs reached."""
    return matched_gain(arms["mine"], arms["single"])
