"""Tabular Q-learning: episodes by an ε-greedy policy, one update of the table a decision.

    Q(s,a) += η·(r + γ·max_b Q(s',b) − Q(s,a)),   0 after a terminal state

in the order of the episodes' decisions. The policy takes a greedy action with chance 1 − ε, ties
shared alike, and any action with chance ε. Its table begins at 0, so that it walks at random until
a reward is met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Samples, Step, Task
from assay.engine.parallel import meter
from assay.models.policies.markov import MarkovPolicy
from assay.models.process import states

TINY = 1e-9  # chance of an action that is never taken, where ε is 0


def q_learning(
    task: Task,
    loop: Loop,
    *,
    score: Callable[[Samples], Tensor],
    reward: Callable[[Samples], Tensor],
    policy: MarkovPolicy,
    epsilon: float,
) -> Iterator[Step]:
    """Run Q-learning and yield one Step after each batch of episodes.

    Args:
        task: Prompts, randomness and memory of the run.
        loop: Steps, episodes a step, and the learning rate η.
        score: `score(samples) → [B,N]`: the proxy, which every reading reports.
        reward: `reward(samples) → [B,N,T]`: what is learnt from.
        policy: The policy that acts; its logits are set.
        epsilon: ε.
    """
    process = policy.process
    none = torch.zeros(policy.logits.shape, dtype=torch.float64)
    carry: Any = task.carry.keep(policy=policy, values=none)
    end = process.terminal.tolist()
    if carry.next == 0:
        act(policy, carry.values, epsilon)
    for t in carry.steps(loop.max_steps):
        with torch.no_grad():
            prompts = task.batch(loop, t)
            x = policy.sample(prompts, loop.num_generations, task.rng("sample", t))
            mean = float(score(x).mean())
            r, at, table = reward(x)[x.mask], states(x), carry.values.tolist()
            moves = zip(
                at[..., :-1][x.mask].tolist(),
                x.action[x.mask].tolist(),
                at[..., 1:][x.mask].tolist(),
                r.tolist(),
                strict=True,
            )
            for s, a, after, paid in moves:
                ahead = 0.0 if end[after] else process.gamma * max(table[after])
                table[s][a] += loop.learning_rate * (paid + ahead - table[s][a])
            carry.values = torch.tensor(table, dtype=torch.float64)
            act(policy, carry.values, epsilon)
        meter.add("updates", 1)
        yield Step(policy, reward=score, stats={"reward": mean})


def act(policy: MarkovPolicy, values: Float[Tensor, "S A"], epsilon: float) -> None:
    """Make the policy ε-greedy on action values."""
    best = (values >= values.amax(-1, keepdim=True)).double()
    chance = (1 - epsilon) * best / best.sum(-1, keepdim=True) + epsilon / best.shape[-1]
    with torch.no_grad():
        policy.logits.copy_(chance.clamp(min=TINY).log())
