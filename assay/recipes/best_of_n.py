"""Best-of-n for n = 1, 2, 4 … `most`: the optimiser without training, and the shortest way to an
over-optimised proxy.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import uncertainty_weighted
from assay.loops.online import panel
from assay.models.samplers.best_of_n import BestOfN, Pool
from assay.stats.effects import Reading, drop

paper = Paper(
    "WebGPT: Browser-assisted question-answering with human feedback",
    "Nakano et al.",
    2021,
    "arXiv:2112.09332",
)
reduces = {}


def recipe(
    task: Task,
    *,
    most: int = 512,
    spare: int = 2,
    members: int = 1,
    lam: float = 0.0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """most: the largest n; spare: answers in a prompt's pool are so many times `most` (at 1 the
    largest n is read off a single answer a prompt); members: how many judges rank, the first ones,
    0 for all; lam: weight of their variance.
    """
    judges = panel(task, members)

    def score(x: Samples):
        return uncertainty_weighted(judges(x), lam=lam)

    pool = Pool(task.reference, score, most * spare)
    ns = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    for t in task.carry.steps(len(ns)):
        yield Step(BestOfN(pool, ns[t]), reward=score, tag=f"n={ns[t]}")


@Claim(
    "Best-of-n against one learned proxy: as n grows, gold rises and then falls below its peak.",
    arms={"single": ("best_of_n", {})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Drop of gold from its peak (read again at fresh addresses) to the largest n."""
    return drop(arms["single"])
