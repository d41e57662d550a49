"""DAPO: GRPO with clip-higher, dynamic sampling, a token-level loss and an overlong penalty.

    R_i = r_i − clip((|y_i| − L_max + L_cache)/L_cache, 0, 1)
    A_i = (R_i − mean(R))/(std(R) + 10⁻⁴)
    L   = −Σ_i Σ_t min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) / Σ_i |y_i|

Clip-higher: the upper bound is wider, so that a rare token may grow. Dynamic sampling: a prompt
whose completions all have one reward teaches nothing; it is dropped, and further prompts are
sampled until the batch is full or `max_batches` were. Token-level loss: a mean over all tokens of
the batch. Overlong penalty: it grows from 0 to 1 over the last L_cache tokens before L_max. No KL
term.

Where the released code differs. It can leave truncated completions out of the loss instead of the
penalty (overlong filtering); that is not here. Rewards there are 1 and −1, so that the penalty is
half of a right answer; with another unit of reward `penalty` says how much it is. Dynamic sampling
looks at the reward before the penalty, and there at the accuracy alone; so does this. verl's loss
also stops at −A·c where A < 0 (dual clip); that is not here.

Trap: dynamic sampling spends completions. Its cost is counted (`generated`), and a comparison at
equal steps is none at equal completions.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, clipped_surrogate, group_relative, standardised
from assay.stats.effects import Reading, average

paper = Paper(
    "DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
    "Yu et al.",
    2025,
    "arXiv:2503.14476",
)
reduces = {
    "grpo": (
        {"epsilon_high": 0.2, "max_batches": 1},
        {"beta": 0.0},
    )
}


def recipe(
    task: Task,
    *,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    max_batches: int = 10,
    max_length: int = 0,
    cache: int = 4096,
    penalty: float = 1.0,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=4),
) -> Iterator[Step]:
    """Train by DAPO and yield the policy after each step.

    Args:
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        max_batches: Most batches that are sampled for one step; 1 for no dynamic sampling.
        max_length: Tokens at which the overlong penalty is whole; 0 for none. The paper has 20480.
        cache: Tokens before `max_length` over which the penalty grows, at least 1.
        penalty: The whole penalty, in units of the reward.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if max_batches < 1 or cache < 1 or max_length < 0:
        raise InputError(
            f"--max-batches is {max_batches}, --cache is {cache} and --max-length is {max_length}; "
            "the first two must be at least 1, the third at least 0"
        )

    def mixed(batch: Rollouts) -> Rollouts:
        here, reward = batch.samples.present, batch.reward
        most = reward.masked_fill(~here, -float("inf")).amax(1)
        return batch[most > reward.masked_fill(~here, float("inf")).amin(1)]

    def prepare(batch: Rollouts) -> Rollouts:
        if max_batches == 1:
            return batch
        kept = mixed(batch)
        while len(kept) < len(batch) and kept.batches < max_batches:
            kept = kept + mixed(batch.again())
        kept.stats["dynamic_sampling/batches"] = float(kept.batches)
        return kept[: len(batch)]

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        if max_length:
            over = ((x.lengths - max_length + cache) / cache).clamp(0, 1)
            reward = reward - penalty * over.to(reward.dtype)
        return standardised(reward, x)

    def surrogate(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from group_relative(
        task,
        loop,
        surrogate,
        advantage=advantage,
        reduce=per_token,
        member=member,
        aggregate=aggregate,
        prepare=prepare,
    )


CLEAN = {"world.mode": "idiosyncratic", "world.pairs": 8000, "world.noise": 0.0}
STALE = {**CLEAN, "epochs": 4, "mini_batch_size": 4, "max_steps": 20}


@Claim(
    "With 16 updates a batch and a sound proxy, a wider upper bound learns faster than GRPO's, "
    "both at their best rate.",
    arms={
        "mine": ("dapo", {"max_batches": 1, **STALE}),
        "grpo": ("grpo", {"beta": 0.0, **STALE}),
        "lower": ("dapo", {"max_batches": 1, "epsilon_low": 0.28, "epsilon_high": 0.2, **STALE}),
    },
    worlds=("table",),
    least={"over grpo": 0.1, "over lower": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"learning_rate": (0.01, 0.02, 0.04, 0.08, 0.16)},
        "grpo": {"learning_rate": (0.01, 0.02, 0.04, 0.08, 0.16)},
        "lower": "mine",
    },
    by=average,
    control=("over lower",),
    broken="the wider bound is the lower one",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the readings of 20 steps of 16 updates, minus GRPO's at its own best rate, and
    minus that with the two bounds exchanged. Here all completions have one length and graded
    rewards, so that of DAPO's four changes the clip alone acts.
    """
    mine = average(arms["mine"])
    return {f"over {name}": mine - average(arms[name]) for name in ("grpo", "lower")}
