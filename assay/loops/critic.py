"""The critic that PPO's family shares: value heads, GAE on their values, and their fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.core import HasValueHead, Loop, Samples, Task, require
from assay.engine.descend import Index
from assay.formulas.advantage import gae, whiten
from assay.formulas.divergence import k1
from assay.formulas.reduce import per_token
from assay.formulas.surrogate import value_clipped
from assay.loops.online import Rollouts
from assay.loops.statistics import record_kl
from assay.loops.updates import update


@dataclass(frozen=True)
class Gae:
    """The constants of a critic.

    Attributes:
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        value_clip: How far a value may move from its old one before its loss is clipped.
    """

    gamma: float = 1.0
    lam: float = 0.95
    value_clip: float = 0.2


class Critic:
    """K values of what comes before each decision, with an optimiser of their own.

    The heads stand on a copy of the policy's backbone, so that they take nothing from the policy's
    gradient. The run's memory keeps head and optimiser.

    Args:
        task: Its reference says what a value head is; its carry keeps the critic.
        loop: Constants of the optimisation, the policy's own.
        by: The recipe's name, for the message where the policy can have no value head.
        heads: K.
        gae: Discount, λ and clip.

    Raises:
        InputError: The policy can have no value head.
    """

    def __init__(self, task: Task, loop: Loop, *, by: str, heads: int = 1, gae: Gae = Gae()):
        policy = require(task.reference, HasValueHead, by)
        self.head = policy.value_head(heads, task.rng("critic"))
        self.optimiser = loop.optimiser(self.head)
        self.task, self.loop, self.gae = task, loop, gae
        task.carry.keep(critic=self.head, critic_opt=self.optimiser)

    @torch.no_grad()
    def learn(self, rewards: Tensor, x: Samples, step: int) -> tuple[Tensor, dict[str, float]]:
        """Take the advantages of some completions, then fit the values to their returns.

        Both use the values from before the update. The returns are A + V.

        Args:
            rewards: What each decision was paid, `[B,N,T,K]`, one component a head.
            x: The completions.
            step: The step, whose order of minibatches the fit takes.

        Returns:
            (advantages `[B,N,T,K]`, {"value_loss": mean over updates, summed over heads}).
        """
        values = self.head(x)  # [B,N,T+1,K]
        advantage = torch.stack(
            [
                gae(r, v, x.mask, gamma=self.gae.gamma, lam=self.gae.lam)
                for r, v in zip(rewards.unbind(-1), values.unbind(-1), strict=True)
            ],
            -1,
        )
        returns = advantage + values[..., :-1, :]

        def loss(rows: Samples, i: Index) -> Tensor:
            old, new = values[i][..., :-1, :], self.head(rows)[..., :-1, :]
            return value_clipped(new, old, returns[i], clip=self.gae.value_clip).sum(-1)

        rng = self.task.rng("minibatch", step)
        fit = update(self.optimiser, loss, x, self.loop, rng, reduce=per_token, split="completions")
        return advantage, {"value_loss": fit["loss"]}


def with_critic(
    task: Task, loop: Loop, *, by: str, beta: float, gae: Gae
) -> Callable[[Rollouts], Rollouts]:
    """Return PPO's `prepare` of the online loop: whitened advantages by GAE, and the critic's fit.

    A decision pays β·log(π/π₀). A completion's score `[B,N]` is paid at its last own decision;
    rewards of decisions `[B,N,T]` where they are made.

    Args:
        task: The run's.
        loop: Constants of the optimisation.
        by: The recipe's name.
        beta: Weight β of the KL penalty in the reward, in units of the reward a nat.
        gae: Discount, λ and clip.
    """
    critic = Critic(task, loop, by=by, gae=gae)

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        rewards = batch.reward if batch.reward.dim() == 3 else at_the_end(batch.reward, x)
        rewards = rewards - beta * reference_kl(task, x)
        advantage, stats = critic.learn(rewards[..., None], x, batch.step)
        batch.advantage = whiten(advantage[..., 0], x.mask)
        batch.stats = {**batch.stats, **stats}
        return batch

    return prepare


def reference_kl(task: Task, x: Samples) -> Tensor:
    """log(π/π₀) of each decision, `[B,N,T]`: what a KL penalty in the reward takes; recorded.

    Args:
        task: Its reference is π₀.
        x: Completions with the log-probabilities of their policy.
    """
    reference = task.reference.logp(x)
    record_kl(x.logp, reference, x.mask)
    return k1(x.logp, reference)


def at_the_end(score: Tensor, x: Samples) -> Tensor:
    """Pay the score `[B,N]` at each completion's last own decision: `[B,N,T]`, 0 elsewhere."""
    place = torch.arange(x.mask.shape[2], device=score.device)
    last = torch.where(x.mask, place, -1).amax(-1, keepdim=True)
    return torch.where(place == last, score[..., None], score.new_zeros(()))
