"""Worst-case optimisation (WCO): an answer is worth what its least convinced judge says. Differs
from mean_ensemble in one line.

The minimum needs judges on one scale and without per-prompt constants of their own. The worlds'
members are standardised on the reference's answers; of their constants a prompt, in units of a
score's standard deviation, there remain none in the bag, 0.1 in the bandit whose arms have
features, and 0.4 in grammar, whose centring term holds them only loosely.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import worst
from assay.loops.online import online, panel
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "Reward Model Ensembles Help Mitigate Overoptimization",
    "Coste et al.",
    2023,
    "arXiv:2310.02743",
)
reduces = {"leave_one_out": ({"members": 1}, {})}


def recipe(task: Task, *, members: int = 0, loop: Loop = Loop()) -> Iterator[Step]:
    """members: how many of the task's judges to use, the first ones; 0 for all."""
    judges = panel(task, members)

    def score(x: Samples):
        return worst(judges(x))  # new in this paper

    yield from online(task, loop, score=score)


@Claim(
    "At equal KL, the worst case of an ensemble keeps more gold than one of its members.",
    arms={"mine": ("worst_case", {}), "single": ("leave_one_out", {})},
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Mean gold difference over the range of √KL that both runs reached."""
    return matched_gain(arms["mine"], arms["single"])
