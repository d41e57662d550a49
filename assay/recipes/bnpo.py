"""BNPO: advantages divided by a Beta density that is fitted to the batch's pass rates.

    A_i = (r_i − p)/f(p; α, β),  α = 1 + a/3, β = 1 + b/3

p is the prompt's pass rate in its group, the completion itself included, f the density of a Beta
law, and Beta(a, b) has the mean and the variance of the batch's pass rates. Under that law these α
and β make E[A²] least. α = β = 1 is REINFORCE with the group's mean as baseline, α = β = 3/2 is
GRPO for rewards of 0 and 1, up to a constant. Against `grpo` it changes what advantages are divided
by, and sums over tokens.

Several rewards (`--members`) are normalised each by itself and averaged. Rewards are mapped to 0 to
1 by `--least` and `--most`; one that is outside is an error.

Where the released code differs: it gives a prompt with one completion the rate 0, where this one
refuses it; it divides by zero where all rates are equal, where this one takes α = β = 1. Both take
1/f up to 10⁶.

Aggregation: a sum over tokens, a mean over completions. Clip (0.8, 1.28). No KL. TRL's
`loss_type="bnpo"` is something else, a mean over the batch's tokens.

Trap: f changes from batch to batch, so that it is a schedule of the learning rate as well. Below 16
prompts a batch the fitted law is noise."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.beta_normalised import beta_normalised, density_of_least_variance, pass_rates
from assay.formulas.reduce import per_completion
from assay.loops import clipped_surrogate, member_scores, online, require_group
from assay.loops.online import Rollouts
from assay.stats.effects import Reading, average

paper = Paper(
    "BNPO: Beta Normalization Policy Optimization",
    "Xiao et al.",
    2025,
    "arXiv:2506.02864",
)
reduces = {
    "grpo": (
        {"alpha": 1.0, "beta": 1.0, "epsilon_high": 0.2},
        {"beta": 0.0, "standardise": False, "length_mean": False},
    )
}


def recipe(
    task: Task,
    *,
    alpha: float = 0.0,
    beta: float = 0.0,
    least: float = 0.0,
    most: float = 1.0,
    members: int = 1,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by BNPO and yield the policy after each step.

    Args:
        alpha: α of the density, at least 1; 0 for the batch's own.
        beta: β of the density, at least 1; 0 for the batch's own.
        least: The least a reward can be.
        most: The most a reward can be.
        members: How many of the task's reward models are rewards, counted from the first; 0 for
            all.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
    """
    if not least < most:
        raise InputError(f"--least is {least} and --most is {most}; the first must be below")
    for flag, value in (("alpha", alpha), ("beta", beta)):
        if value and not value >= 1:
            raise InputError(
                f"--{flag} is {value}; it must be at least 1, or 0 for the batch's own"
            )
    several = member_scores(task, members)

    def unit(reward: Tensor, here: Tensor) -> Tensor:
        r = (reward - least) / (most - least)
        if bool((here & ~((r >= 0) & (r <= 1))).any()):
            worst = reward[here & ~((r >= 0) & (r <= 1))][0]
            raise InputError(
                f"a reward is {float(worst):.3g}, outside --least {least} and --most {most}; give "
                "the least and the most that it can be"
            )
        return r

    def prepare(batch: Rollouts) -> Rollouts:
        here, each = batch.samples.present, list[Tensor]()
        for k, reward in enumerate(several(batch.samples)):
            r = unit(require_group(reward), here)
            a, b = density_of_least_variance(pass_rates(r, here))
            a, b = alpha or a, beta or b
            batch.stats |= {f"bnpo/alpha_{k}": a, f"bnpo/beta_{k}": b}
            each.append(beta_normalised(r, here, alpha=a, beta=b))
        batch.advantage = torch.stack(each).mean(0)[..., None]
        return batch

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=lambda x: several(x).mean(0),
        prepare=prepare,
        loss=loss,
        reduce=per_completion,
        reads_logp=False,
    )


RATES = {"learning_rate": (1e-4, 3e-4, 1e-3, 3e-3)}


@Claim(
    "On arithmetic of mixed difficulty BNPO solves more over the run than GRPO and than the plain "
    "baseline, each at its best rate.",
    arms={
        "mine": ("bnpo", {}),
        "grpo": ("grpo", {"beta": 0.0, "length_mean": False, "epsilon_high": 0.28}),
        "flat": ("bnpo", {"alpha": 1.0, "beta": 1.0}),
    },
    worlds=("sums",),
    least={"over grpo": 0.02, "over the plain baseline": 0.0},
    seeds="100..109",
    tuned={"mine": RATES, "grpo": RATES, "flat": RATES},
    by=average,
    control=("over the plain baseline",),
    broken="a flat density, at a rate of its own, since 1/f is a change of rate as well",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean share of right answers over the readings, minus GRPO's, and minus that of the same loss
    with α = β = 1.
    """
    mine = average(arms["mine"])
    return {
        "over grpo": mine - average(arms["grpo"]),
        "over the plain baseline": mine - average(arms["flat"]),
    }
