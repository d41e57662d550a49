"""Supervised fine-tuning (SFT): imitate demonstrations, or the chosen completions of pairs.

No reward model takes part.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from assay.core import Claim, Loop, Paper, Policy, Samples, Step, Task
from assay.formulas.reduce import per_completion
from assay.loops import imitated, offline
from assay.stats.effects import Reading, drop, rise

paper = Paper(
    "Training language models to follow instructions with human feedback",
    "Ouyang et al.",
    2022,
    "arXiv:2203.02155",
)
reduces = {}


def recipe(
    task: Task, *, imitate: Literal["auto", "pairs", "demos"] = "auto", loop: Loop = Loop()
) -> Iterator[Step]:
    """Imitate and yield the policy after each step.

    Args:
        imitate: What is imitated: the chosen completions of pairs, or demos. auto takes pairs where
            there are some, and demos otherwise.
    """

    def loss(policy: Policy, rows: Samples, _):
        return -policy.logp(rows)

    data = imitated(task, imitate)
    yield from offline(
        task, loop, data=data, loss=loss, reduce=per_completion, against_reference=False
    )


@Claim(
    "Imitating the chosen completions of noisy pairs ends above the reference in gold.",
    arms={
        "sft": ("sft", {}),
        "coins": ("sft", {"world.noise": 0.5}),
    },
    worlds=("table",),
    least={"rises": 0.05, "over coins": 0.0},
    seeds="100..119",
    control=("over coins",),
    broken="the same pairs with labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Gold of the last policy minus the reference's, at fresh addresses, and how much more that is
    than with labels that are coins. Gold's unit is its deviation under the reference.
    """
    gain = {k: rise(arms[k]) - drop(arms[k]) for k in ("sft", "coins")}
    return {"rises": gain["sft"], "over coins": gain["sft"] - gain["coins"]}
