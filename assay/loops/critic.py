"""The critic that PPO's family shares: value heads, GAE on their values, and their fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.core import HasValueHead, Loop, Samples, Task, require
from assay.engine.descend import Index
from assay.formulas.advantage import gae, returns_to_go, whiten
from assay.formulas.divergence import k1
from assay.formulas.reduce import per_token
from assay.loops.online import Rollouts
from assay.loops.reference import reference_logp
from assay.loops.statistics import record_kl
from assay.loops.updates import update
from assay.loops.value_forms import Scalar, ValueForm


@dataclass(frozen=True)
class Gae:
    """The constants of a critic.

    Attributes:
        gamma: Discount a decision.
        lam: Decay λ of GAE.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
    """

    gamma: float = 1.0
    lam: float = 0.95
    value_clip: float = 0.2


_SCALAR = Scalar()


class Scale:
    """Running mean and standard deviation of the returns, one of each a head.

    The first batch sets them, and later ones count for a tenth or more. Variances are added about
    the means, so that returns that are all equal have a deviation of exactly 0.

    Args:
        heads: K.
    """

    MEMORY = 0.9  # what an older batch counts for beside the next one

    def __init__(self, heads: int):
        self.batches = 0
        self.mean = torch.zeros(heads, dtype=torch.float64)
        self.variance = torch.zeros(heads, dtype=torch.float64)

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each head's returns, `[K]`."""
        return self.variance.sqrt()

    def see(self, returns: Tensor) -> None:
        """Take in a batch of returns `[n,K]`; none of them change nothing."""
        if not len(returns):
            return
        x = returns.detach().double().cpu()
        centre = x[0] + (x - x[0]).mean(0)
        spread = (x - centre).square().mean(0)
        self.batches += 1
        new = (1 - self.MEMORY) / (1 - self.MEMORY**self.batches)  # 1 for the first batch
        moved = centre - self.mean
        self.variance = (1 - new) * self.variance + new * (spread + (1 - new) * moved.square())
        self.mean = self.mean + new * moved

    def state_dict(self) -> dict[str, Any]:
        """Return the count of batches and both moments."""
        return {"batches": self.batches, "mean": self.mean, "variance": self.variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.batches, self.mean = state["batches"], state["mean"]
        self.variance = state["variance"]


class Critic:
    """K values of what comes before each decision, with an optimiser of their own.

    The heads stand on a copy of the policy's backbone, so that they take nothing from the policy's
    gradient. The run's memory keeps head and optimiser.

    A head learns standardised returns h, and a value is V = mean + deviation·h. So a reward in
    other units gives the same advantages in those units, and the same run once they are whitened:
    Adam moves a head by about the learning rate an update, whatever the unit, and would take
    twenty times as long to learn a reward that is twenty times as large.

    Args:
        task: Its reference says what a value head is; its carry keeps the critic.
        loop: Constants of the optimisation, the policy's own.
        by: The recipe's name, for the message where the policy can have no value head.
        heads: K.
        gae: Discount, λ and clip.
        form: How a head says its value, and what it is fitted by.

    Raises:
        InputError: The policy can have no value head.

    Source: value normalisation as in Yu et al., "The Surprising Effectiveness of PPO in
        Cooperative, Multi-Agent Games", arXiv:2103.01955, 2021; without it in Schulman et al.
    """

    def __init__(
        self,
        task: Task,
        loop: Loop,
        *,
        by: str,
        heads: int = 1,
        gae: Gae = Gae(),
        form: ValueForm = _SCALAR,
    ):
        self.policy = require(task.reference, HasValueHead, by)
        self.outputs = heads * form.outputs
        self.head = self.policy.value_head(self.outputs, task.rng("critic"))
        self.optimiser, self.form = loop.optimiser(self.head), form
        self.task, self.loop, self.gae, self.scale = task, loop, gae, Scale(heads)
        task.carry.keep(critic=self.head, critic_opt=self.optimiser, critic_scale=self.scale)

    def begin_anew(self) -> None:
        """Forget what was learned: head, optimiser and scale are as before the first update."""
        fresh = self.policy.value_head(self.outputs, self.task.rng("critic"))
        self.head.load_state_dict(fresh.state_dict())
        self.optimiser.restart()
        self.scale.load_state_dict(Scale(len(self.scale.mean)).state_dict())

    def _outputs(self, x: Samples) -> Tensor:
        """What the heads say before each decision, `[B,N,T+1,K,outputs]`."""
        return self.head(x).unflatten(-1, (-1, self.form.outputs))

    @torch.no_grad()
    def learn(self, rewards: Tensor, x: Samples, step: int) -> tuple[Tensor, dict[str, float]]:
        """Take the advantages of some completions, then fit the values to their returns.

        Both use the values from before the update, on a scale that has seen the returns of these
        completions. What is fitted is A + V.

        Args:
            rewards: What each decision was paid, `[B,N,T,K]`, one component a head.
            x: The completions.
            step: The step, whose order of minibatches the fit takes.

        Returns:
            (advantages `[B,N,T,K]`, statistics). "value_loss" is the loss, a mean over updates,
            summed over heads: in variances of the returns where it is a squared error, else in
            nats. "explained_variance" is that of the returns by the values from before the update,
            1 − Var(G − V)/Var(G), a mean over the heads whose returns vary.
        """
        gamma, lam = self.gae.gamma, self.gae.lam
        each = rewards.unbind(-1)
        paid = torch.stack([returns_to_go(r, x.mask, gamma=gamma) for r in each], -1)
        self.scale.see(paid[x.mask])
        mean, deviation = self.scale.mean.to(paid), self.scale.deviation.to(paid)
        standard = self.form.values(self._outputs(x))  # [B,N,T+1,K]
        values = mean + deviation * standard
        advantage = torch.stack(
            [
                gae(r, v, x.mask, gamma=gamma, lam=lam)
                for r, v in zip(each, values.unbind(-1), strict=True)
            ],
            -1,
        )
        # A + V, standardised; where all returns are equal, their mean is what they are
        above = advantage / torch.where(deviation > 0, deviation, 1.0)
        target = torch.where(deviation > 0, above + standard[..., :-1, :], 0.0)

        def loss(rows: Samples, i: Index) -> Tensor:
            old, new = standard[i][..., :-1, :], self._outputs(rows)[..., :-1, :, :]
            return self.form.loss(new, old, target[i], clip=self.gae.value_clip).sum(-1)

        rng = self.task.rng("minibatch", step)
        fit = update(self.optimiser, loss, x, self.loop, rng, reduce=per_token, split="completions")
        stats = {"value_loss": fit["loss"]}
        seen = explained_variance(paid[x.mask], values[..., :-1, :][x.mask])
        if bool((known := seen.isfinite()).any()):
            stats["explained_variance"] = float(seen[known].mean())
        return advantage, stats


def explained_variance(returns: Tensor, values: Tensor) -> Tensor:
    """1 − Var(G − V)/Var(G) of n decisions: 1 where values are the returns, 0 where they are equal.

    Args:
        returns: G `[n,K]`.
        values: V `[n,K]`.

    Returns:
        `[K]`; NaN where returns are all equal.
    """
    if not len(returns):
        return returns.new_full(returns.shape[1:], torch.nan)
    spread = returns.var(0, correction=0)
    left = (returns - values).var(0, correction=0)
    equal = (returns == returns[:1]).all(0)
    return torch.where(equal, torch.nan, 1 - left / spread)


def with_critic(
    task: Task,
    loop: Loop,
    *,
    by: str,
    beta: float,
    gae: Gae,
    form: ValueForm = _SCALAR,
    anew: Callable[[int], bool] = lambda step: False,
) -> Callable[[Rollouts], Rollouts]:
    """Return PPO's `prepare` of the online loop: whitened advantages by GAE, and the critic's fit.

    A decision pays β·log(π/π₀). A completion's score `[B,N]` is paid at its last own decision;
    rewards of decisions `[B,N,T]` where they are made.

    Args:
        task: The run's.
        loop: Constants of the critic's optimisation.
        by: The recipe's name.
        beta: Weight β of the KL penalty in the reward, in units of the reward a nat.
        gae: Discount, λ and clip.
        form: How the critic says its value, and what it is fitted by.
        anew: Whether the critic begins anew at a step.
    """
    critic = Critic(task, loop, by=by, gae=gae, form=form)

    def prepare(batch: Rollouts) -> Rollouts:
        x = batch.samples
        if anew(batch.step):
            critic.begin_anew()
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
    reference = reference_logp(task.reference, x)
    record_kl(x.logp, reference, x.mask)
    return k1(x.logp, reference)


def at_the_end(score: Tensor, x: Samples) -> Tensor:
    """Pay the score `[B,N]` at each completion's last own decision: `[B,N,T]`, 0 elsewhere."""
    place = torch.arange(x.mask.shape[2], device=score.device)
    last = torch.where(x.mask, place, -1).amax(-1, keepdim=True)
    return torch.where(place == last, score[..., None], score.new_zeros(()))
