"""Supervised fine-tuning on the preferred answers of the pairs: imitation, with no reward in it."""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Policy, Samples, Step, Task
from assay.formulas.reduce import per_answer
from assay.loops.online import offline
from assay.stats.effects import Reading, drop, rise

paper = Paper(
    "Training language models to follow instructions with human feedback",
    "Ouyang et al.",
    2022,
    "arXiv:2203.02155",
)
reduces = {}


def recipe(task: Task, *, demos: bool = False, loop: Loop = Loop()) -> Iterator[Step]:
    """demos: imitate the task's demonstrations instead of the chosen answers of its pairs."""

    def loss(policy: Policy, rows: Samples, _):
        return -policy.logp(rows)

    data = task.demos if demos else task.pairs
    first = data.pick(data.present.new_zeros(len(data), 1).long())
    yield from offline(
        task, loop, data=first, loss=loss, reduce=per_answer, against_reference=False
    )


@Claim(
    "Imitating the preferred answers of noisy pairs ends above the reference in gold.",
    arms={"sft": ("sft", {})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Gold of the last policy minus the reference's, at fresh addresses."""
    return rise(arms["sft"]) - drop(arms["sft"])
