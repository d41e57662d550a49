"""PPO with a critic: a price of KL a decision in the reward, GAE, whitened advantages, clipped
ratio, clipped value loss.

The critic is a head on its own copy of the backbone, so it takes nothing from the policy's gradient
and has an optimiser of its own. Its value after an answer's end is 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.engine.descend import descend
from assay.formulas.advantage import gae, whiten
from assay.formulas.divergence import k1
from assay.formulas.reduce import per_token
from assay.formulas.surrogate import clipped, value_clipped
from assay.loops.online import describe, judge, mean_stats
from assay.stats.effects import Reading, drop

paper = Paper(
    "Proximal Policy Optimization Algorithms", "Schulman et al.", 2017, "arXiv:1707.06347"
)
reduces = {}


def recipe(
    task: Task,
    *,
    beta: float = 0.05,
    low: float = 0.2,
    high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """beta: price of a nat; low, high, value_clip: clip ranges; gamma, lam: discount and GAE's
    decay; member, aggregate: the proxy, one judge or all of them made one (`loops.judge`).
    """
    policy = task.reference.copy()
    critic = policy.scorer(1, task.rng("critic"))
    opt, critic_opt = loop.optimiser(policy), loop.optimiser(critic)
    score = judge(task, member, aggregate)
    carry = task.carry.keep(policy=policy, critic=critic, opt=opt, critic_opt=critic_opt)
    for t in carry.steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        with torch.no_grad():
            values = critic(x)[..., 0]  # [B,N,T+1]
            rewards = at_the_end(score(x), x) - beta * k1(x.logp, task.reference.logp(x))
        advantage = gae(rewards, values, x.mask, gamma=gamma, lam=lam)
        returns = advantage + values[..., :-1]
        A = whiten(advantage, x.mask)

        def policy_loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return clipped(policy.logp(rows), rows.logp, A[i], low=low, high=high)

        def value_loss(
            rows: Samples, i: Tensor, values: Tensor = values, returns: Tensor = returns
        ) -> Tensor:
            return value_clipped(
                critic(rows)[..., :-1, 0], values[i][..., :-1], returns[i], clip=value_clip
            )

        stats = []
        for i in loop.minibatches(len(x), task.rng("minibatch", t)):
            fit = descend(critic_opt, value_loss, x, reduce=per_token, rows=i)
            stats.append(
                {
                    **descend(opt, policy_loss, x, reduce=per_token, rows=i),
                    "value_loss": fit["loss"],
                }
            )
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x)})


def at_the_end(score: Tensor, x: Samples) -> Tensor:
    """The score `[B,N]` paid at each answer's last own decision `[B,N,T]`, 0 elsewhere."""
    place = torch.arange(x.mask.shape[2], device=score.device)
    last = torch.where(x.mask, place, -1).amax(-1, keepdim=True)
    return torch.where(place == last, score[..., None], score.new_zeros(()))


@Claim(
    "Against one learned proxy and without its KL price, PPO's gold too rises and then falls below "
    "its peak.",
    arms={"ppo": ("ppo", {"beta": 0.0})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Drop of gold from its peak to the end of the run."""
    return drop(arms["ppo"])
