"""REC: group-relative REINFORCE as an off-policy method, with what it masks, weighs or adds.

    A_i = r_i − mean(r)
    L   = mean over tokens of −M(ρ, A)·A·log π  (+ what regularises)

The loss is derived without a word about who sampled the completions: it is one gradient step on
the squared violations of the optimum's condition, r − τ·log(π/π_old) equal in a group. What keeps
it stable is said by its constants, and importance weights are not among what is needed.

- REC, a mask by ρ and the sign of A. `--shape one_side` is PPO's clip as a mask, `two_side`, `ring`
  and `none` (REINFORCE) are the others. `--weighted` weighs by ρ (the IS variants); with one_side
  it has GRPO's gradient exactly. `--sequence` takes GSPO's ratio of the whole completion.
- `--tau` (OPMD, Kimi k1.5): + (τ/2)·d², d the completion's log-ratio to the sampler. The released
  code squares each token's (`--square token`) and absorbs the half.
- `--baseline log_mean_exp` with `--tau` (the other OPMD): the baseline estimates τ·log Z, and the
  loss is divided by 1 + τ; `--baseline scaled` keeps the mean. Neither has the squared term.
- `--delta` (AsymRE): − δ·log π, a baseline that is lower by δ.
- `--drop` (RED-Drop) leaves out bad completions that outnumber the good ones, and takes the mean of
  what stays. `--temperature` (RED-Weight) multiplies advantages by exp(A/T).
- `--sync-interval` k samples from a policy that is up to k − 1 updates old.

Advantages are not divided by the deviation. Aggregation: a mean over all tokens of the batch. No KL
to the reference. Against `grpo` the default drops the ratio's weight and the two divisions.

Where another policy sampled and nothing regularises, REINFORCE takes the arm that is sampled often:
on μ = (.3, .6, .1), r = (0, .8, 1) it ends on the second best, and of all constants here only a
small RED-Weight temperature ends on the best (`pytest tests/test_formulas_off_policy.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_centred
from assay.formulas.group_shaping import log_mean_exp_centred, without_surplus
from assay.formulas.off_policy import SHAPES, asymre, opmd, rec, red_weight
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, group_relative, require_group
from assay.loops.own_logp import rounds_apart, scored
from assay.stats.effects import Reading, average

paper = Paper(
    "Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm: Demystifying Some Myths About "
    "GRPO and Its Friends",
    "Yao et al.",
    2025,
    "arXiv:2509.24203",
)
# where all completions have one length, as a mean over tokens is else another aggregation
reduces = {"grpo": ({"weighted": True}, {"beta": 0.0, "standardise": False})}

BASELINES, SQUARES = ("mean", "scaled", "log_mean_exp"), ("sequence", "token")


def recipe(
    task: Task,
    *,
    shape: str = "one_side",
    weighted: bool = False,
    sequence: bool = False,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    outer_low: float = 0.6,
    outer_high: float = 2.0,
    tau: float = 0.0,
    square: str = "sequence",
    baseline: str = "mean",
    delta: float = 0.0,
    drop: bool = False,
    temperature: float = 0.0,
    sync_interval: int = 1,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by a member of the family and yield the policy after each step.

    Args:
        shape: Which decisions are learned from: none, one_side, two_side or ring.
        weighted: Weigh by the importance ratio.
        sequence: Take the completion's ratio, the geometric mean of its tokens'.
        epsilon_low: ε_low of the mask.
        epsilon_high: ε_high of the mask.
        outer_low: ε'_low of the ring.
        outer_high: ε'_high of the ring.
        tau: τ of OPMD, in units of the reward per nat; 0 for none.
        square: Whose log-ratio OPMD squares: sequence (the paper) or token (released code).
        baseline: mean; or, with `tau`, scaled or log_mean_exp, which have 1/(1 + τ) and no square.
        delta: δ of AsymRE, in units of the reward; 0 for none.
        drop: Leave out surplus bad completions (RED-Drop).
        temperature: T of RED-Weight, in units of the reward; 0 for none.
        sync_interval: Steps after which the policy that samples is renewed, at least 1.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    _check(shape, square, baseline, tau, delta, temperature, sync_interval)
    other, stale = baseline != "mean", sync_interval > 1
    if drop and (delta or (tau and not other)):
        raise InputError(
            f"--drop is given with --delta {delta} and --tau {tau}, whose terms would still move "
            "what is dropped; give one of them"
        )
    sampler: Any = task.reference.copy() if stale else None
    if stale:
        task.carry.keep(sampler=sampler)

    def prepare(batch: Rollouts) -> Rollouts:
        reward, here = require_group(batch.reward), batch.samples.present
        if drop:
            row = torch.arange(len(here), device=here.device)[:, None]
            place = torch.arange(here.shape[1], device=here.device)
            kept = without_surplus(reward, here, task.rng("drop", batch.step).uniform(row, place))
            batch.stats["red/dropped"] = float((here & ~kept).sum() / here.sum().clamp(min=1))
            here = kept
        centred = (
            log_mean_exp_centred(reward, here, tau=tau)
            if baseline == "log_mean_exp"
            else group_centred(reward, here)
        )
        a = red_weight(centred, temperature=temperature) if temperature else centred
        batch.advantage = a[..., None]
        return batch

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        value = rec(
            logp,
            rows.logp,
            advantage / (1 + tau) if other else advantage,
            shape=shape,
            weighted=weighted,
            low=epsilon_low,
            high=epsilon_high,
            outer_low=outer_low,
            outer_high=outer_high,
            mask=rows.mask if sequence else None,
        )
        none = torch.zeros_like(advantage)
        if tau and not other:
            whole = square == "sequence"
            value = value + opmd(logp, rows.logp, none, rows.mask, tau=tau, sequence=whole)
        return value + asymre(logp, none, delta=delta) if delta else value

    def rollout(_: Any, number: int) -> Samples:
        prompts = task.batch(loop, number)
        x = sampler.sample(prompts, loop.num_generations, task.rng("sample", number))
        return scored(sampler, x) if rounds_apart(sampler) else x

    def after(batch: Rollouts) -> None:
        if (batch.step + 1) % sync_interval == 0:
            sampler.load_state_dict(batch.policy.state_dict())

    yield from group_relative(
        task,
        loop,
        surrogate,
        reduce=per_token,
        member=member,
        aggregate=aggregate,
        prepare=prepare,
        after=after if stale else None,
        rollout=rollout if stale else None,
    )


def _check(
    shape: str,
    square: str,
    baseline: str,
    tau: float,
    delta: float,
    temperature: float,
    sync_interval: int,
) -> None:
    """Raise InputError where a constant is unknown or out of range."""
    for flag, value, known in (
        ("shape", shape, SHAPES),
        ("square", square, SQUARES),
        ("baseline", baseline, BASELINES),
    ):
        if value not in known:
            raise InputError(f"--{flag} is '{value}'; it is one of {', '.join(known)}")
    if not (tau >= 0 and delta >= 0 and temperature >= 0 and sync_interval >= 1):
        raise InputError(
            f"--tau is {tau}, --delta {delta}, --temperature {temperature} and --sync-interval "
            f"{sync_interval}; the first three must be at least 0, the last at least 1"
        )
    if baseline != "mean" and not tau:
        raise InputError(f"--baseline {baseline} needs --tau above 0, and it is {tau}")


CLEAN = {"world.mode": "idiosyncratic", "world.pairs": 8000, "world.noise": 0.0}
STALE = {**CLEAN, "epochs": 1, "sync_interval": 10, "max_steps": 40}
RATES = (0.02, 0.04, 0.08, 0.16, 0.32)


@Claim(
    "On completions of a policy up to nine updates old, a mask does what matters: without it "
    "REINFORCE learns less, and importance weights add nothing.",
    arms={
        "mine": ("rec", STALE),
        "weighted": ("rec", {"weighted": True, **STALE}),
        "bare": ("rec", {"shape": "none", **STALE}),
        "both": ("rec", {"shape": "none", "weighted": True, **STALE}),
    },
    worlds=("table",),
    least={"as weighted": -0.1, "over bare": 0.0, "over weights alone": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"learning_rate": RATES},
        "weighted": {"learning_rate": RATES},
        "bare": {"learning_rate": RATES},
        "both": {"learning_rate": RATES},
    },
    by=average,
    control=("over bare", "over weights alone"),
    broken="no mask, without and with importance weights",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the readings of 40 steps, each arm at its own best rate: the mask alone minus
    the mask with weights, minus neither, and minus the weights alone. Gold's unit is its deviation
    under the reference; the proxy is fitted on clean pairs.
    """
    mine = average(arms["mine"])
    return {
        "as weighted": mine - average(arms["weighted"]),
        "over bare": mine - average(arms["bare"]),
        "over weights alone": mine - average(arms["both"]),
    }
