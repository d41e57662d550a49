"""Supervised fine-tuning as implicit-reward learning, by an f-divergence that keeps its KL term.

    L = E_E[f*(−u)],   u = β·Σ_t (log π − log π₀)(y_t),   y a demonstration

Plain SFT is the case f*(s) = s (`linear`): the same implicit reward as DPO's is learned, but its KL
term has become a constant, so nothing says how far to go. Pearson (−u + u²/4), squared Hellinger
(−u/(1+u)) and KL (e^(−u−1)) pull less what is imitated already; see `formulas.implicit_reward`,
where the forms are derived. The paper's other proposal, a smaller learning rate, is measured by
`sft_then_dpo`, and so is what either leaves for DPO.

u is of a whole completion, whose values V telescope; V of the prompt is left out. `per_token` takes
f* of each token's β·log π/π₀ instead, without the V terms that the paper's token form has.

Differs from `sft` in f* alone: `linear` at β = 1 is SFT, step for step. Adam takes away the factor
β of the gradient, and f* does not: at a small β all forms are SFT for a long time.

Traps. Squared Hellinger is infinite where u ≤ −1: a demonstration that has become e^(1/β) times
less likely than under the reference makes its update one that is skipped, and said to be. Pearson
pushes a demonstration down once its log-ratio is above 2/β nats. SFT's means over tokens of
trainers are another scale of β than the sums here.

`misplaced` gives each demonstration the reference's log-probability of another one of its batch:
the KL term is then there and says nothing. It is the control.

Here (20 seeds of the table, each at its best constants): DPO after Pearson ends .021 [.017, .025]
lower in gold than after SFT, and .045 [.034, .055] higher than with misplaced probabilities. The
demonstrations are the best of four by gold, and who imitates them less has less of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task, order
from assay.core.samples import REFERENCE_LOGP
from assay.engine.gauge import gauge
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import sum_
from assay.formulas.implicit_reward import LOSSES, imitation, implicit_reward
from assay.formulas.reduce import per_completion, per_completion_once
from assay.loops import imitated, reference_known, update, with_reference_logp

paper = Paper(
    "Implicit Reward as the Bridge: A Unified View of SFT and DPO Connections",
    "Wang et al.",
    2025,
    "arXiv:2507.00018",
)
reduces = {"sft": ({"divergence": "linear", "beta": 1.0}, {})}


def recipe(
    task: Task,
    *,
    divergence: str = "pearson",
    beta: float = 0.1,
    per_token: bool = False,
    imitate: Literal["auto", "pairs", "demos"] = "auto",
    misplaced: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Imitate and yield the policy after each step.

    Args:
        divergence: linear (SFT), pearson, squared_hellinger or kl.
        beta: Scale β of the implicit reward, per nat.
        per_token: Take f* of each token's reward instead of the completion's.
        imitate: What is imitated: the chosen completions of pairs, or demos. auto takes pairs where
            there are some, and demos otherwise.
        misplaced: Compare with the reference's log-probability of another demonstration: the
            control.
    """
    if divergence not in LOSSES:
        raise InputError(f"--divergence is '{divergence}'; it is one of {', '.join(LOSSES)}")
    if not beta > 0:
        raise InputError(f"--beta is {beta}; it must be above 0")
    data = imitated(task, imitate)
    if misplaced and min(loop.batch_size, len(data)) < 2:
        raise InputError(
            f"--batch-size is {loop.batch_size} and there are {len(data)} demonstrations; "
            "--misplaced takes another demonstration of the batch, so give at least 2"
        )
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = data[order(len(data), loop.batch_size, t, task.rng)]
        if misplaced or loop.epochs > 1:
            x = reference_known(task.reference, x)
        if misplaced:
            others = x.extra[REFERENCE_LOGP].roll(1, 0)
            x = replace(x, extra={**x.extra, REFERENCE_LOGP: others})
        seen = torch.zeros(2, dtype=torch.float64)

        def loss(rows: Samples, _: Tensor, seen: Tensor = seen) -> Tensor:
            logp = nonfinite.logps("policy", rows, policy.logp(rows))
            reference = with_reference_logp(task.reference, rows).logp
            u = implicit_reward(logp, reference, beta=beta)
            if not gauge.muted:
                here = rows.present
                seen += torch.stack([u.detach()[here].sum().double(), here.sum().double()]).cpu()
            if per_token:
                return imitation(beta * (logp - reference), divergence=divergence)
            return imitation(u, divergence=divergence)

        reduce = per_completion if per_token else per_completion_once
        stats = update(opt, loss, x, loop, task.rng("minibatch", t), reduce=reduce)
        total, n = sum_(seen).tolist()
        yield Step(policy, stats={**stats, **({"rewards/imitated": total / n} if n else {})})


def ended(lines: list[dict[str, Any]]) -> float:
    """Gold after DPO."""
    return next(float(x["gold"]) for x in lines if x["kind"] == "run")


_RATES = ((0.4,), (0.2,), (0.1,), (0.05,), (0.02,), (0.01,))
_MINE = {"rates": _RATES[::2], "beta": (0.1, 0.5)}


@Claim(
    "DPO ends higher in gold from a policy that imitated demonstrations by the Pearson divergence, "
    "which keeps the KL term, than from one that imitated by SFT with as many updates, and than "
    "with the reference's probabilities of other demonstrations.",
    arms={
        "pearson": ("sft_then_dpo", {"divergence": "pearson"}),
        "sft": ("sft_then_dpo", {}),
        "misplaced": ("sft_then_dpo", {"divergence": "pearson", "misplaced": True}),
    },
    worlds=("table",),
    tuned={"pearson": _MINE, "sft": {"rates": _RATES}, "misplaced": "pearson"},
    by=ended,
    # a twentieth of gold's deviation under the reference
    least={"over SFT": 0.05},
    seeds="100..119",
    control=("over misplaced",),
    broken="each demonstration has the reference's log-probability of another one",
    differs={"seconds": "SFT's loss needs no reference, and asks it here all the same"},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Differences of gold after DPO, in its deviations under the reference."""
    gold = {arm: ended(lines) for arm, lines in arms.items()}
    return {
        "over SFT": gold["pearson"] - gold["sft"],
        "over misplaced": gold["pearson"] - gold["misplaced"],
    }
