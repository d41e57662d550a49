"""The single proxy: REINFORCE against one judge, each answer's baseline the mean of its siblings.
No KL term.

This is the run that over-optimises, and the baseline every mitigation is compared with.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Step, Task
from assay.loops.online import judge, online
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
    """member: which of the task's judges is the proxy; aggregate: all of them made one instead, see
    `loops.judge`.
    """
    yield from online(task, loop, score=judge(task, member, aggregate))


@Claim(
    "Optimised against one learned proxy without a KL term, gold rises and then falls below its "
    "peak.",
    arms={"single": ("leave_one_out", {})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run."""
    return drop(arms["single"])
