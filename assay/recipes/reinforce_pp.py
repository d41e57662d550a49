"""REINFORCE++: advantages normalised over the whole batch, without a critic.

    A_t = r − β·Σ_{s≥t} log(π/π₀)_s,  then (A − mean)/std over all tokens of the batch
    L   = mean over tokens of −min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A)

With `baseline` (the paper's REINFORCE++-Baseline) the reward is first centred in the prompt's
group, and the KL stands in the loss instead, as k2:

    A_i = r_i − mean(r),  then (A − mean)/std over all tokens of the batch
    L   = … + β·½(log π/π₀)²

Against `grpo` it divides by one deviation for the batch, where GRPO divides by each group's, so
that a prompt that is nearly always solved has small advantages and not large ones. Without
`baseline` one completion a prompt is enough, and prompts are compared with one another: an easy
prompt's wrong completion may have a positive advantage. With `whitened` off A
is the return itself, neither centred nor divided: the negative control.

Aggregation: a mean over all tokens of the batch. The deviation divides by the count (÷ n).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred, returns_to_go, whiten
from assay.formulas.divergence import k2
from assay.formulas.reduce import per_token
from assay.loops import (
    at_the_end,
    clipped_surrogate,
    online,
    proxy_score,
    record_kl,
    reference_logp,
    require_group,
    with_reference_logp,
)
from assay.stats.effects import Reading, final

paper = Paper(
    "REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization",
    "Hu et al.",
    2025,
    "arXiv:2501.03262",
)
reduces = {}


def recipe(
    task: Task,
    *,
    baseline: bool = False,
    whitened: bool = True,
    beta: float = 0.01,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by REINFORCE++ and yield the policy after each step.

    Args:
        baseline: Centre rewards in each prompt's group first, and put the KL in the loss.
        whitened: Normalise advantages over the batch; without it they are left as they are.
        beta: Weight of the KL: of k1 in the reward, or of k2 in the loss with `baseline`.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def normal(a: Tensor, mask: Tensor) -> Tensor:
        return whiten(a, mask) if whitened else a.where(mask, 0.0)

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        if baseline:
            centred = group_centred(require_group(reward), x.present)
            return normal(centred[..., None].expand_as(x.logp), x.mask)
        paid = at_the_end(reward, x)
        if beta:
            reference = reference_logp(task.reference, x)
            record_kl(x.logp, reference, x.mask)
            paid = paid - beta * (x.logp - reference).to(paid.dtype)
        return normal(returns_to_go(paid, x.mask), x.mask)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)
        if not (baseline and beta):
            return value
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return value + beta * k2(logp, reference)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        advantage=advantage,
        loss=loss,
        reduce=per_token,
        against_reference=bool(beta),
        reads_logp=bool(beta) and not baseline,
    )


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.3}
_WORLD |= {"sft_steps": 320, "sft_lr": 0.01, "pairs": 16, "prompts": 96, "held_out": 128}
_WORLD |= {"taught": 3000, "rewards": "outcome"}
_RUN = {"max_steps": 10, "epochs": 2, "beta": 0.0}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "REINFORCE++ ends at as many right answers as GRPO, both at their best rate, and at more than "
    "the same loss without the batch's normalisation.",
    arms={
        "mine": ("reinforce_pp", _RUN),
        "grpo": ("grpo", _RUN),
        "bare": ("reinforce_pp", {**_RUN, "whitened": False}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # not two completions in a hundred fewer; to beat the control is enough
    least={"not below grpo": -0.02, "over bare": 0.0},
    seeds="200..211",
    tuned={"mine": _RATES, "grpo": _RATES, "bare": "mine"},
    control=("over bare",),
    broken="advantages are rewards, neither centred nor divided over the batch",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers after ten steps of two updates minus GRPO's at its own best
    rate, and minus that of the same recipe whose advantages are the rewards themselves.
    """
    mine = final(arms["mine"])
    return {
        "not below grpo": mine - final(arms["grpo"]),
        "over bare": mine - final(arms["bare"]),
    }
