"""Uncertainty-weighted ensemble (UWO): pay less where the judges disagree. Differs from mean_ensemble in one line.

r = mean_m r_m − λ·Var_m r_m with the population variance, as in the paper's best-of-n code (its PPO code divides by
M−1, so the same λ is 25 % stronger there at M = 5).
"""
from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.effects import Reading, matched_gain
from assay.formulas.aggregate import uncertainty_weighted
from assay.loops import online, panel

paper = Paper("Reward Model Ensembles Help Mitigate Overoptimization", "Coste et al.", 2023, "arXiv:2310.02743")
reduces = {"mean_ensemble": ({"lam": 0.0}, {})}


def recipe(task: Task, *, lam: float = 0.5, members: int = 0, loop: Loop = Loop()) -> Iterator[Step]:
    """lam: weight of the variance; members: how many of the task's judges to use, the first ones; 0 for all."""
    judges = panel(task, members)

    def score(x: Samples):
        return uncertainty_weighted(judges(x), lam=lam)  # new in this paper

    yield from online(task, loop, score=score)


@Claim("At equal KL, the uncertainty-weighted ensemble keeps more gold than one of its members.",
       arms={"mine": ("uncertainty_weighted", {}), "single": ("leave_one_out", {})}, turns="single")
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold difference over the range of √KL that both runs reached."""
    return matched_gain(arms["mine"], arms["single"])
