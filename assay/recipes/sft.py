"""Supervised fine-tuning (SFT): imitate the chosen completions of the pairs.

No reward model takes part.
"""

from __future__ import annotations

from collections.abc import Iterator

from assay.core import Claim, Loop, Paper, Policy, Samples, Step, Task
from assay.formulas.reduce import per_completion
from assay.loops import offline
from assay.stats.effects import Reading, drop, rise

paper = Paper(
    "Training language models to follow instructions with human feedback",
    "Ouyang et al.",
    2022,
    "arXiv:2203.02155",
)
reduces = {}


def recipe(task: Task, *, demos: bool = False, loop: Loop = Loop()) -> Iterator[Step]:
    """Imitate and yield the policy after each step.

    Args:
        demos: Imitate the task's demonstrations instead of the chosen completions of its pairs.
    """

    def loss(policy: Policy, rows: Samples, _):
        return -policy.logp(rows)

    data = task.demos if demos else task.pairs
    first = data.pick(data.present.new_zeros(len(data), 1).long())
    yield from offline(
        task, loop, data=first, loss=loss, reduce=per_completion, against_reference=False
    )


@Claim(
    "Imitating the chosen completions of noisy pairs ends above the reference in gold.",
    arms={"sft": ("sft", {})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Gold of the last policy minus the reference's, at fresh addresses."""
    return rise(arms["sft"]) - drop(arms["sft"])
