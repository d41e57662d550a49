"""KTO: learn from single completions that are desirable or not, around a reference point.

    desirable      λ_D·(1 − σ(β(ℓ − z₀)))        ℓ = log π/π₀ of the completion, a sum over tokens
    undesirable    λ_U·(1 − σ(β(z₀ − ℓ)))        z₀ = max(0, mean ℓ of mismatched completions)

Differs from `dpo` in that no two completions are compared. Here the chosen completions of pairs are
desirable and the rejected ones are not; with `unpaired` each pair gives one of the two alone, so
that nothing can be compared. Files of single labelled completions, as TRL's KTOTrainer takes them,
are not read: pairs are the only way in.

z₀ estimates KL(π‖π₀) by completions under other prompts than theirs, over the whole batch before
its update, without gradient: `kto/reference_point`, in nats. Each completion is moved to another
prompt by the size of the largest group of a prompt; TRL moves them by one, which gives neighbours
that share a prompt their own completion. A batch of one prompt has no such pairs, and z₀ is then 0:
`kto/mismatched` is the share of completions that count. It costs another pass of policy and
reference.

Traps: the gradient vanishes for what the policy contradicts without hope, which is robust to wrong
labels, and ignores hard ones. Where one kind is rarer, weigh it so that λ_D·n_D/(λ_U·n_U) is
between 1 and 4/3. Small batches make z₀ a noisy number.

Here, from one completion of each of 400 noisy pairs, gold rises by 2.5 [1.9, 3.0] in 60 steps, and
with coins for labels it does not; DPO, which is told both completions of each pair, ends 1.1 [.2,
2.0] higher. Both chose β .05 and rate .2, the smallest and the largest of their grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Policy, Samples, Step, Task
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import by_rows
from assay.formulas.reduce import per_completion_once
from assay.formulas.unpaired import kto, mismatched, reference_point
from assay.loops import offline
from assay.stats.effects import Reading, drop, final, rise

paper = Paper(
    "KTO: Model Alignment as Prospect Theoretic Optimization",
    "Ethayarajh et al.",
    2024,
    "arXiv:2402.01306",
)
reduces = {}
GOOD, POINT = "desirable", "reference_point"


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    unpaired: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the completions of the task's pairs and yield the policy after each step.

    Args:
        beta: Strength of the implicit KL penalty, per nat.
        desirable_weight: Weight λ_D of desirable completions.
        undesirable_weight: Weight λ_U of the others.
        unpaired: Use one completion of each pair, drawn once, and forget the other one.
    """
    if desirable_weight < 0 or undesirable_weight < 0:
        raise InputError(
            f"--desirable-weight is {desirable_weight} and --undesirable-weight is "
            f"{undesirable_weight}; both must be at least 0"
        )
    stats: dict[str, float] = {}

    def prepare(policy: Policy, x: Samples, t: int) -> Samples:
        """The batch with z₀ beside each completion."""
        taken, other = mismatched(x.prompts.row)
        own = ("action", "mask", "given", "logp", "ended")
        moved = replace(x, extra={}, **{k: getattr(x, k)[taken] for k in own})
        with torch.no_grad():
            mine, theirs = (by_rows(m.logp, moved) for m in (policy, task.reference))
        here = moved.present & other.to(moved.mask.device)[:, None]
        z = reference_point((mine - theirs).sum(-1), here)
        stats["kto/reference_point"] = float(z)
        stats["kto/mismatched"] = float(here.sum() / x.present.sum().clamp(min=1))
        return replace(x, extra={**x.extra, POINT: z.expand(x.present.shape)})

    def loss(policy: Policy, rows: Samples, reference: Samples) -> Tensor:
        logp = nonfinite.logps("policy", rows, policy.logp(rows))
        return kto(
            (logp - reference.logp).sum(-1),
            rows.extra[GOOD],
            reference_point=rows.extra[POINT],
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )

    data = labelled(task, unpaired)
    for step in offline(
        task, loop, data=data, loss=loss, reduce=per_completion_once, prepare=prepare
    ):
        yield replace(step, stats={**step.stats, **stats})


def labelled(task: Task, unpaired: bool) -> Samples:
    """The completions of the task's pairs, each with the probability that it is desirable.

    Args:
        task: Its pairs.
        unpaired: One completion of each pair, in place of both.
    """
    pairs = task.pairs
    first = torch.ones(len(pairs), 1, dtype=torch.int64)
    place = torch.cat([first - 1, first], 1)
    good = torch.stack([pairs.p, 1 - pairs.p], 1)
    parts: dict[str, Any] = {
        k: getattr(pairs, k) for k in ("prompts", "action", "mask", "given", "logp", "ended")
    }
    x = Samples(**parts, extra={**pairs.extra, GOOD: good.to(pairs.mask.device)})
    if unpaired:
        place = (task.rng("unpaired").uniform(torch.arange(len(pairs))) < 0.5).long()[:, None]
    return x.pick(place)


_RUN = {"max_steps": 60}
_GRID = {"beta": (0.05, 0.2), "learning_rate": (0.1, 0.2)}


@Claim(
    "From one completion of each noisy pair, labelled desirable or not, KTO ends above the "
    "reference in gold and at most a quarter below DPO on the whole pairs, each at the β and "
    "learning rate that suit it; from labels that are coins it does not.",
    arms={
        "kto": ("kto", {"unpaired": True, **_RUN}),
        "dpo": ("dpo", _RUN),
        "coins": ("kto", {"unpaired": True, "world.noise": 0.5, **_RUN}),
    },
    worlds=("table",),
    least={"rises": 0.25, "over dpo": -0.25, "over coins": 0.0},
    seeds="760..779",
    tuned={"kto": _GRID, "dpo": _GRID, "coins": "kto"},
    control=("over coins",),
    broken="the same completions with labels that are coins",
    differs={"seconds": "KTO also reads completions under other prompts"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold over the reference's at fresh addresses, over DPO's on the pairs, and how much
    more it rises than with labels that are coins. Gold's unit is its deviation under the reference.
    """
    gain = {k: rise(arms[k]) - drop(arms[k]) for k in ("kto", "coins")}
    return {
        "rises": gain["kto"],
        "over dpo": final(arms["kto"]) - final(arms["dpo"]),
        "over coins": gain["kto"] - gain["coins"],
    }
