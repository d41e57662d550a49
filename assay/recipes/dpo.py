"""Direct preference optimisation (DPO): fit the policy to pairs, with no reward model.

    L = −log σ(β·(log π/π₀(chosen) − log π/π₀(rejected)))

Log-ratios are sums over a completion's tokens. Nothing is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise import dpo
from assay.loops import log_ratios, paired
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
    """Train on the task's pairs and yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        smoothing: Assumed share of flipped labels (cDPO), from 0 to below 0.5.
    """

    def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
        return dpo(*log_ratios(logp, reference), beta=beta, smoothing=smoothing, p=rows.p)

    yield from paired(task, loop, data=task.pairs, loss=loss, beta=beta)


@Claim(
    "DPO on noisy pairs reaches a checkpoint whose gold is above the reference's.",
    arms={
        "dpo": ("dpo", {}),
        "coins": ("dpo", {"world.noise": 0.5}),
    },
    worlds=("table",),
    least={"rises": 0.5, "over coins": 0.0},
    seeds="100..119",
    control=("over coins",),
    broken="the same pairs with labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Peak gold minus the reference's, both read at fresh addresses, and how much more that is
    than with labels that are coins. Gold's unit is its deviation under the reference.
    """
    gain = {k: rise(arms[k]) for k in ("dpo", "coins")}
    return {"rises": gain["dpo"], "over coins": gain["dpo"] - gain["coins"]}
