"""REINFORCE with a leave-one-out baseline (RLOO): the single proxy, without a KL term.

The baseline of a completion is the mean reward of the prompt's other completions. This is the run
that over-optimises, and the baseline that every mitigation is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Step, Task
from assay.loops import online, proxy_score
from assay.stats.effects import Reading, drop

paper = Paper(
    "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in "
    "LLMs",
    "Ahmadian et al.",
    2024,
    "arXiv:2402.14740",
)
reduces = {}


def recipe(
    task: Task, *, member: int = 0, aggregate: str = "", loop: Loop = Loop()
) -> Iterator[Step]:
    """Train against the proxy and yield the policy after each step.

    Args:
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    yield from online(task, loop, score=proxy_score(task, member, aggregate))


@Claim(
    "Optimised against one learned proxy without a KL term, gold rises and then falls below its "
    "peak.",
    arms={
        "single": ("leave_one_out", {}),
        "sound": (
            "leave_one_out",
            {
                "world.mode": "idiosyncratic",
                "world.pairs": 8000,
                "world.noise": 0.0,
            },
        ),
    },
    worlds=("table",),
    least={"falls": 0.5, "over sound": 0.0},
    seeds="100..139",
    control=("over sound",),
    broken="a proxy fitted on 8,000 clean pairs where only a lack of data can mislead it",
    differs={"pairs": "a sound reward model takes 8,000 clean pairs"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run, and how
    much more that is than against a sound proxy. Gold's unit is its deviation under the reference.
    """
    falls = drop(arms["single"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
