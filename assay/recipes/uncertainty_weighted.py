"""Uncertainty-weighted optimisation (UWO): subtract the ensemble's variance from its mean.

    r = mean_m r_m − λ·Var_m r_m

The variance is the population's, as in the paper's best-of-n code. Differs from mean_ensemble in
one line.

Where the released code differs. Its PPO code divides by M−1, so that the same λ is 25 % stronger
there at M = 5: `released` does that, and both are run. In its best-of-n code λ = 0 falls through to
λ = 1; here 0 is the mean.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import uncertainty_weighted
from assay.loops import member_scores, online
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
    """Train against the penalised mean and yield the policy after each step.

    Args:
        lam: Weight λ of the variance, at least 0.
        members: Reward models to use, counted from the first; 0 for all.
        released: Divide the variance by M−1 as the released PPO code does.
    """
    scores = member_scores(task, members)
    M = members or len(task.rewards.names)
    weight = lam * M / (M - 1) if released and M > 1 else lam

    def score(x: Samples):
        return uncertainty_weighted(scores(x), lam=weight)  # new in this paper

    yield from online(task, loop, score=score)


@Claim(
    "At equal KL, the uncertainty-weighted ensemble keeps more gold than one of its members, and "
    "than the members' mean.",
    arms={
        "mine": ("uncertainty_weighted", {}),
        "released": ("uncertainty_weighted", {"released": True}),
        "single": ("leave_one_out", {}),
        "mean": ("mean_ensemble", {}),
    },
    turns="single",
    worlds=("table",),
    least={"over single": 0.1, "over mean": 0.0},
    seeds="100..139",
    control=("over mean",),
    broken="the mean of the same members, without the variance",
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
