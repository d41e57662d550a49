"""SLiC-HF: calibrate sequence likelihoods on pairs by a margin, and imitate beside it.

    L = max(0, δ − log π(chosen) + log π(rejected)) − λ·log π(target)

Likelihoods are sums over a completion's tokens. No reference policy is in it: what the hinge ranks
is likelihood itself, so a pair that the reference ranks rightly by δ nats says nothing, and what
holds the policy is the second term. Differs from `direct_alignment --loss slic`, which is the hinge
on log-ratios (RSO's), in both; from `dpo` also in that its gradient ends at the margin; and from
`regularised_preference` in the first term.

The target is what supervised fine-tuning would imitate: the chosen completion, or one completion
that the reference is asked for once for each pair (`target`): −log π of those is KL(π₀‖π) plus a
constant. The paper has its SFT data's target or the best of several samples.

Traps: with λ = 0 nothing anchors the policy, and completions outside the pairs are free. A sum of
log-probabilities grows with length, so δ is a larger share of a short pair's difference than of a
long one's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Step, Task
from assay.formulas.pairwise_forms import slic
from assay.loops import paired, with_reference_completion
from assay.stats.effects import Reading, drop, rise

paper = Paper(
    "SLiC-HF: Sequence Likelihood Calibration with Human Feedback",
    "Zhao et al.",
    2023,
    "arXiv:2305.10425",
)
reduces = {}


def recipe(
    task: Task,
    *,
    margin: float = 1.0,
    weight: float = 0.05,
    target: Literal["chosen", "reference"] = "chosen",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs and yield the policy after each step.

    Args:
        margin: δ, by which the chosen completion shall lead, in nats.
        weight: Weight λ of imitation, at least 0.
        target: What is imitated: chosen, or reference for completions of the reference.
    """
    if not (margin > 0 and weight >= 0):
        raise InputError(
            f"--margin is {margin} and --weight is {weight}; the first must be above 0, the second "
            "at least 0"
        )
    kept: Any = task.carry.keep(data=None)
    if kept.data is None:  # sampled once a run, also where it is resumed
        kept.data = task.pairs
        if target == "reference":
            rng = task.rng("target")
            kept.data = with_reference_completion(task.reference, kept.data, rng)

    def loss(rows: Pairs, logp: Tensor, _: Tensor) -> Tensor:
        total = logp.sum(-1)
        imitated = (
            rows.p * total[:, 0] + (1 - rows.p) * total[:, 1]
            if target == "chosen"  # as far as the label is sure
            else total[:, 2]
        )
        return slic(total[:, 0], total[:, 1], imitated, margin=margin, weight=weight, p=rows.p)

    yield from paired(task, loop, data=kept.data, loss=loss, beta=1.0)


_RUN = {"max_steps": 60, "learning_rate": 0.1}


@Claim(
    "SLiC-HF on noisy pairs ends above the reference in gold, and above the same loss on labels "
    "that are coins.",
    arms={
        "slic": ("slic", _RUN),
        "coins": ("slic", {"world.noise": 0.5, **_RUN}),
    },
    worlds=("table",),
    least={"rises": 0.25, "over coins": 0.0},
    seeds="790..809",
    tuned={
        "slic": {"margin": (1.0, 4.0), "weight": (0.01, 0.1)},
        "coins": "slic",
    },
    control=("over coins",),
    broken="the same pairs with labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Gold of the last policy minus the reference's, at fresh addresses, and how much more that is
    than with labels that are coins. Gold's unit is its deviation under the reference.
    """
    gain = {k: rise(arms[k]) - drop(arms[k]) for k in ("slic", "coins")}
    return {"rises": gain["slic"], "over coins": gain["slic"] - gain["coins"]}
