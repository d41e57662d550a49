"""Best-of-n for n = 1, 2, 4 …: sample n completions and keep the one with the highest score.

It optimises without training, and is the shortest way to an over-optimised proxy. The ranking score
is mean_m r_m − λ·Var_m r_m over the first `members` reward models.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import uncertainty_weighted
from assay.loops import aggregator, member_scores
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
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Yield the best-of-n sampler of each n.

    Args:
        most: The largest n; n doubles from 1.
        spare: Completions in a prompt's pool, as a multiple of `most`; at 1 the largest n has one
            choice.
        members: Reward models that rank, counted from the first; 0 for all.
        lam: Weight λ of their variance.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    scores = member_scores(task, 0 if aggregate else members)
    combine = aggregator(aggregate) if aggregate else partial(uncertainty_weighted, lam=lam)

    def score(x: Samples):
        return combine(scores(x))

    pool = Pool(task.reference, score, most * spare)
    ns = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    for t in task.carry.steps(len(ns)):
        yield Step(BestOfN(pool, ns[t]), reward=score, tag=f"n={ns[t]}")


@Claim(
    "Best-of-n against one learned proxy: as n grows, gold rises and then falls below its peak.",
    arms={
        "single": ("best_of_n", {}),
        "sound": (
            "best_of_n",
            {
                "world.mode": "idiosyncratic",
                "world.pairs": 8000,
                "world.noise": 0.0,
            },
        ),
    },
    worlds=("table",),
    least={"falls": 0.5, "over sound": 0.0},
    seeds="100..119",
    control=("over sound",),
    broken="a proxy fitted on 8,000 clean pairs where only a lack of data can mislead it",
    differs={"pairs": "a sound reward model takes 8,000 clean pairs"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the largest n, and how
    much more that is than against a sound proxy. Gold's unit is its deviation under the reference.
    """
    falls = drop(arms["single"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
