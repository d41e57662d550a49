"""PPO with a critic: KL in the reward, GAE, whitened advantages, clipped ratios and values.

Each decision pays β·log(π/π₀); the score is paid at the completion's last decision. Advantages are
GAE's on the critic's values, whitened over the batch.

The critic is a head on its own copy of the backbone, so it takes nothing from the policy's gradient
and has an optimiser of its own. Its value after a completion's end is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, HasValueHead, Loop, Paper, Samples, Step, Task, require
from assay.engine.descend import Index
from assay.formulas.advantage import gae, whiten
from assay.formulas.divergence import k1
from assay.formulas.reduce import per_token
from assay.formulas.surrogate import value_clipped
from assay.loops import Rollouts, clipped_surrogate, online, proxy_score, record_kl, update
from assay.stats.effects import Reading, drop

paper = Paper(
    "Proximal Policy Optimization Algorithms", "Schulman et al.", 2017, "arXiv:1707.06347"
)
reduces = {}


def recipe(
    task: Task,
    *,
    beta: float = 0.05,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train by PPO and yield the policy after each step.

    Args:
        beta: Weight of the KL penalty in the reward, in units of the proxy per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    policy = require(task.reference, HasValueHead, "ppo")
    critic = policy.value_head(1, task.rng("critic"))
    critic_opt = loop.optimiser(critic)
    task.carry.keep(critic=critic, critic_opt=critic_opt)

    def prepare(batch: Rollouts) -> Rollouts:
        """Take advantages, then fit the critic: both use the values from before the update."""
        x = batch.samples
        values = critic(x)[..., 0]  # [B,N,T+1]
        reference = task.reference.logp(x)
        record_kl(x.logp, reference, x.mask)
        rewards = at_the_end(batch.reward, x) - beta * k1(x.logp, reference)
        advantage = gae(rewards, values, x.mask, gamma=gamma, lam=lam)
        returns = advantage + values[..., :-1]

        def value_loss(rows: Samples, i: Index) -> Tensor:
            return value_clipped(
                critic(rows)[..., :-1, 0], values[i][..., :-1], returns[i], clip=value_clip
            )

        rng = task.rng("minibatch", batch.step)
        fit = update(critic_opt, value_loss, x, loop, rng, reduce=per_token, split="completions")
        batch.advantage, batch.stats = whiten(advantage, x.mask), {"value_loss": fit["loss"]}
        return batch

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=per_token,
    )


def at_the_end(score: Tensor, x: Samples) -> Tensor:
    """Pay the score `[B,N]` at each completion's last own decision: `[B,N,T]`, 0 elsewhere."""
    place = torch.arange(x.mask.shape[2], device=score.device)
    last = torch.where(x.mask, place, -1).amax(-1, keepdim=True)
    return torch.where(place == last, score[..., None], score.new_zeros(()))


@Claim(
    "Against one learned proxy and without its KL penalty, PPO's gold too rises and then falls "
    "below its peak.",
    arms={
        "ppo": ("ppo", {"beta": 0.0}),
        "sound": (
            "ppo",
            {
                "beta": 0.0,
                "world.mode": "idiosyncratic",
                "world.pairs": 8000,
                "world.noise": 0.0,
            },
        ),
    },
    worlds=("table",),
    least={"falls": 0.5, "over sound": 0.0},
    seeds="100..139",
    control=("over sound",),
    broken="a proxy fitted on 8,000 clean pairs where only a lack of data can mislead it",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run, and how
    much more that is than against a sound proxy. Gold's unit is its deviation under the reference.
    """
    falls = drop(arms["ppo"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
