"""KTO: learn from single completions that are desirable or not, around a reference point.

    desirable      λ_D·(1 − σ(β(ℓ − z₀)))        ℓ = log π/π₀ of the completion, a sum over tokens
    undesirable    λ_U·(1 − σ(β(z₀ − ℓ)))        z₀ = max(0, mean ℓ of mismatched completions)

Differs from `dpo` in that no two completions are compared. Here the chosen completions of pairs are
desirable and the rejected ones are not; with `unpaired` each pair gives one of the two alone, so
that nothing can be compared. Without pairs it learns from labelled completions, the rows (prompt,
completion, label) of `--demos` that TRL's KTOTrainer takes. Pairs unrolled into such rows give the
same loss and z₀ over a whole file whose prompts have equally many; in batches other completions
meet, because a batch counts rows.

z₀ estimates KL(π‖π₀) by completions under other prompts than theirs, over the whole batch before
its update, without gradient: `kto/reference_point`, in nats. Each completion is moved to another
prompt by the size of the largest group of a prompt; TRL moves them by one the other way, in each
device's batch, which gives neighbours that share a prompt their own completion. Loss, weights and
mean over completions are TRL's. A batch of one prompt has no such pairs, and z₀ is then 0:
`kto/mismatched` is the share of completions that count. It costs another pass of policy and
reference.

Traps: the gradient vanishes for what the policy contradicts without hope, which is robust to wrong
labels, and ignores hard ones. Where one kind is rarer, weigh it so that λ_D·n_D/(λ_U·n_U) is
between 1 and 4/3 (the paper's rule (8); outside it a warning says the weight that is within).
Small batches make z₀ a noisy number.

Here, from one completion of each of 400 noisy pairs, gold rises by 2.5 [1.9, 3.0] in 60 steps, and
with coins for labels it does not; DPO, which is told both completions of each pair, ends 1.1 [.2,
2.0] higher. Both chose β .05 and rate .2, the smallest and the largest of their grids.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import (
    DESIRABLE,
    Claim,
    InputError,
    Loop,
    Missing,
    Pairs,
    Paper,
    Policy,
    Samples,
    Step,
    Task,
)
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
POINT = "reference_point"
log = logging.getLogger("assay")


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    unpaired: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on labelled completions, of pairs or single, and yield the policy after each step.

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
            rows.extra[DESIRABLE],
            reference_point=rows.extra[POINT],
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )

    data = labelled(task, unpaired)
    balanced(data, desirable_weight, undesirable_weight)
    for step in offline(
        task, loop, data=data, loss=loss, reduce=per_completion_once, prepare=prepare
    ):
        yield replace(step, stats={**step.stats, **stats})


def labelled(task: Task, unpaired: bool) -> Samples:
    """The completions of the task's pairs, or else its labelled ones, each with the probability
    that it is desirable.

    Args:
        task: Its pairs or labelled completions.
        unpaired: One completion of each pair, in place of both.

    Raises:
        InputError: There are neither, or both, or `unpaired` is set without pairs.
    """
    pairs = _pairs(task)
    if pairs is None:
        if unpaired:
            raise InputError(
                "--unpaired parts pairs, and there are none; leave it out, or pass --pairs"
            )
        return task.labelled
    if task.is_labelled:
        raise InputError(
            "kto learns from --pairs or from labelled completions of --demos, and got both; write "
            "the pairs as labelled rows, or leave one of the two out"
        )
    first = torch.ones(len(pairs), 1, dtype=torch.int64)
    place = torch.cat([first - 1, first], 1)
    good = torch.stack([pairs.p, 1 - pairs.p], 1)
    parts: dict[str, Any] = {
        k: getattr(pairs, k) for k in ("prompts", "action", "mask", "given", "logp", "ended")
    }
    x = Samples(**parts, extra={**pairs.extra, DESIRABLE: good.to(pairs.mask.device)})
    if unpaired:
        place = (task.rng("unpaired").uniform(torch.arange(len(pairs))) < 0.5).long()[:, None]
    return x.pick(place)


def _pairs(task: Task) -> Pairs | None:
    try:
        return task.pairs
    except Missing:
        return None


def balanced(data: Samples, desirable_weight: float, undesirable_weight: float) -> None:
    """Warn where λ_D·n_D/(λ_U·n_U) is outside [1, 4/3], and refuse completions that are all alike.

    Args:
        data: Completions with the probability that each is desirable.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.

    Source: Ethayarajh et al., arXiv:2402.01306, 2024, equation (8).
    """
    good = data.extra[DESIRABLE][data.present].double()
    n, bad = float(good.sum()), float((1 - good).sum())
    if n == 0 or bad == 0:
        raise InputError(
            f"all {len(good)} completions that can be used are {'un' * (n == 0)}desirable; kto "
            "needs both kinds: give more rows, or hold fewer prompts out (--held-out)"
        )
    if desirable_weight == 0 or undesirable_weight == 0:
        return  # one kind is left out on purpose
    ratio = desirable_weight * n / (undesirable_weight * bad)
    if not 1 - 1e-6 <= ratio <= 4 / 3 + 0.01:  # 1.33 is typed for 4/3
        low, high = undesirable_weight * bad / n, desirable_weight * n / bad
        line = (
            f"{n:.0f} desirable and {bad:.0f} undesirable completions, weighed "
            f"{desirable_weight:g} and {undesirable_weight:g}, have a ratio of {ratio:.3g}; KTO's "
            f"paper advises 1 to 4/3: pass --desirable-weight {low:.3g} to {low * 4 / 3:.3g}, or "
            f"--undesirable-weight {high * 3 / 4:.3g} to {high:.3g}"
        )
        log.warning(line, extra={"once": line})


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
