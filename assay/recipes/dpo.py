"""Direct preference optimisation: −log σ(β(log-ratio of chosen − log-ratio of rejected)). No reward
model, no sampling.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise import dpo
from assay.loops.online import paired, ratios
from assay.stats.effects import Reading, rise

paper = Paper(
    "Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
    "Rafailov et al.",
    2023,
    "arXiv:2305.18290",
)
reduces = {}


def recipe(
    task: Task, *, beta: float = 0.1, smoothing: float = 0.0, loop: Loop = Loop()
) -> Iterator[Step]:
    """beta: price of a nat; smoothing: assumed share of flipped labels (cDPO)."""

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo(*ratios(logp, reference), beta=beta, smoothing=smoothing, p=rows.p)

    yield from paired(task, loop, data=task.pairs, loss=loss, beta=beta)


@Claim(
    "DPO on noisy pairs reaches a checkpoint whose gold is above the reference's.",
    arms={"dpo": ("dpo", {})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Peak gold minus the reference's, both read at fresh addresses."""
    return rise(arms["dpo"])
