"""PPO with a critic: KL in the reward, GAE, whitened advantages, clipped ratios and values.

Each decision pays β·log(π/π₀); the score is paid at the completion's last decision. Advantages are
GAE's on the critic's values, whitened over the batch.

The critic is a head on its own copy of the backbone, so it takes nothing from the policy's gradient
and has an optimiser of its own. It learns standardised returns, so that the reward's unit does not
matter to it. Its value after a completion's end is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.loops import Gae, clipped_surrogate, online, proxy_score, with_critic
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
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=with_critic(task, loop, by="ppo", beta=beta, gae=gae),
        loss=loss,
        reduce=per_token,
    )


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
    seeds="300..339",
    control=("over sound",),
    broken="a proxy fitted on 8,000 clean pairs where only a lack of data can mislead it",
    differs={"pairs": "a sound reward model takes 8,000 clean pairs"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Drop of gold from its peak (read again at fresh addresses) to the end of the run, and how
    much more that is than against a sound proxy. Gold's unit is its deviation under the reference.
    """
    falls = drop(arms["ppo"])
    return {"falls": falls, "over sound": falls - drop(arms["sound"])}
