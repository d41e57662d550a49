"""DRPO: shortness is rewarded among right answers only, against wrong ones as a whole.

Each prompt's completions are right (reward above `above`) or wrong. With s_i the mean log π of a
completion's tokens,

    L = −(Σ₊ w_i·s_i/Σ₊ w_j − τ·log Σ₋ exp(s_j/τ)) + β·sg((KL − δ)⁺)·KL
    w_i = exp((1 − |y_i|/L_max)/λ),     KL = mean over tokens of log π_old − log π

A reward that subtracts length from correctness and then takes the group's mean gives a right but
long answer a negative advantage, below a short wrong one's at times. Here no right answer is ever
pushed down: length only divides what right answers share. λ = ∞ is the objective without length.

There are no advantages and no ratios. A prompt's loss is one number; the mean is over all prompts,
also those whose answers are all of one kind: they have the KL alone. Where no prompt has answers of
both kinds there is no update. Scores are means over tokens. The KL is to the sampler, so it is 0
until a batch is used a second time (`epochs`). It is taken by prompt here, where the released code
takes one of the mini-batch: a coefficient that depends on other rows would make the run depend on
how it is split into micro-batches. A prompt's own estimate is noisier, so that more of what exceeds
δ is noise.

Where the released code differs. It divides lengths by the padded width of a batch, so that weights
depend on what else is in it; here L_max is `longest`, by default the policy's own limit. The value
that it logs is the constant τ; only its gradient is this one's. Its τ of 10 weighs wrong answers
nearly alike, and its defaults (β 1000, λ .1) are kept here.

Traps. A prompt that is always solved has no wrong answer and is not learned from, so it is not
shortened either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, EstimatesMemory, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.decoupled import decoupled, hinged_kl, length_log_weights
from assay.formulas.reduce import per_list
from assay.loops import Rollouts, online, proxy_score, require_group
from assay.stats.effects import Reading

paper = Paper(
    "DRPO: Efficient Reasoning via Decoupled Reward Policy Optimization",
    "Li et al.",
    2025,
    "arXiv:2510.04474",
)
reduces = {}


def recipe(
    task: Task,
    *,
    lam: float = 0.1,
    tau: float = 10.0,
    beta: float = 1000.0,
    delta: float = 1e-4,
    above: float = 0.5,
    longest: int = 0,
    blind: bool = False,
    member: int = 0,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by DRPO and yield the policy after each step.

    Args:
        lam: Temperature λ of the weights by length; 0 for no preference of length (λ = ∞).
        tau: Temperature τ of the wrong answers, in nats a token.
        beta: Weight β of the KL to the sampler beyond δ.
        delta: KL δ that is free, in nats a token.
        above: Reward above which a completion is right.
        longest: L_max in tokens; 0 for the policy's own limit.
        blind: Weigh each right answer by another one's length: the negative control.
        member: Index of the reward model that says what is right.
    """
    if lam < 0 or not tau > 0 or beta < 0:
        raise InputError(
            f"--lam is {lam}, --tau {tau} and --beta {beta}; tau must be above 0, and the other "
            "two at least 0"
        )

    def prepare(batch: Rollouts) -> Rollouts:
        x, right = batch.samples, require_group(batch.reward) > above
        limit = longest or limit_of(task.reference, x)
        weight = length_log_weights(x.lengths, longest=limit, lam=lam or math.inf)
        good, bad = right & x.present, ~right & x.present
        if blind:
            u = task.rng("blind", batch.step).uniform(
                torch.arange(len(x))[:, None], torch.arange(right.shape[1])
            )
            weight = dealt(weight, good, u)
        mixed = good.any(1) & bad.any(1)
        batch.advantage = torch.stack([right.to(weight), weight], -1)
        batch.stats["drpo/frac_mixed"] = float(mixed.double().mean())
        if bool(good.any()):
            batch.stats["drpo/right_length"] = float(x.lengths[good].double().mean())
        return batch if bool(mixed.any()) else batch[mixed]

    def loss(logp: Tensor, rows: Samples, about: Tensor) -> Tensor:
        count = rows.lengths.clamp(min=1)
        right, weight = about[..., 0] > 0.5, about[..., 1]
        value = decoupled(logp.sum(-1) / count, right, rows.present, weight, tau=tau)
        apart = (rows.logp - logp).sum((-1, -2)) / rows.mask.sum((-1, -2)).clamp(min=1)
        return value + hinged_kl(apart, delta=delta, beta=beta)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member),
        prepare=prepare,
        loss=loss,
        reduce=per_list,
        split="prompts",
    )


def limit_of(policy: Any, x: Samples) -> int:
    """The most tokens that the policy gives a completion; where it has no limit, this batch's."""
    return policy.max_tokens if isinstance(policy, EstimatesMemory) else x.mask.shape[2]


def dealt(weight: Tensor, good: Tensor, u: Tensor) -> Tensor:
    """Deal each prompt's weights of right answers to its right answers in another order."""
    place = torch.where(good, u.to(weight), 2.0).argsort(1)  # right ones first, in random order
    right_first = torch.where(good, 0, 1).argsort(dim=1, stable=True)
    out = weight.clone()
    return out.scatter(1, place, weight.gather(1, right_first))


def right_and_short(readings: list[Reading]) -> float:
    """Share of right answers times mean shortness (1 − tokens/limit) at the end of the run."""
    last = [r for r in readings if r["tag"] != "best"][-1]
    return float(last["golds"][0]) * float(last["golds"][2])


_WORLD = {"task": "modular", "least": 2, "most": 3, "width": 32, "layers": 1, "pass_rate": 0.6}
_WORLD |= {"sft_steps": 160, "sft_lr": 0.01, "pairs": 16, "prompts": 48, "held_out": 24}
_WORLD |= {"taught": 1000, "again": 0.4, "rewards": "outcome,short"}
_RUN = {"max_steps": 20, "batch_size": 16, "num_generations": 8}
_RATES = (0.0001, 0.00025, 0.0005, 0.001)


@Claim(
    "On sums whose solutions repeat themselves, DRPO ends with a larger product of share right "
    "and shortness than GRPO on a weighted sum of both rewards, each at the preference of length "
    "that suits it, and than weights by another right answer's length.",
    arms={
        "mine": ("drpo", _RUN),
        "sum": ("grpo", {**_RUN, "beta": 0.0, "epochs": 2}),
        "blind": ("drpo", {**_RUN, "blind": True}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    least={"over sum": 0.02, "over blind": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"lam": (0.05, 0.1, 0.3), "learning_rate": _RATES},
        "sum": {
            "aggregate": ("weighted:0.95,0.05", "weighted:0.9,0.1", "weighted:0.7,0.3"),
            "learning_rate": _RATES,
        },
        "blind": "mine",
    },
    by=right_and_short,
    control=("over blind",),
    broken="each right answer is weighed by the length of another right one",
    differs={
        "scored": "GRPO scores every completion by two rewards",
        "updates": "DRPO makes none where no prompt has answers of both kinds",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Share right times shortness at the end of the run, minus the rival's."""
    mine = right_and_short(arms["mine"])
    return {f"over {arm}": mine - right_and_short(arms[arm]) for arm in ("sum", "blind")}
