"""The online loop: sample completions, score them, take advantages, update the policy, yield.

    rollout ─► reward ─► prepare ─► advantage ─► loss, reduce ─► update ─► after ─► Step

A recipe passes functions for the parts that its paper changes; the rest are the parts of
`leave_one_out`. `prepare` may filter, reweigh or refill the batch before the update; `after` may
move other models or add statistics after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Optimiser, Samples, Step, Task, cat
from assay.engine.descend import Index, skipped
from assay.engine.nonfinite import nonfinite
from assay.engine.passes import Split
from assay.errors import InputError
from assay.formulas.advantage import leave_one_out
from assay.formulas.reduce import per_completion
from assay.formulas.surrogate import reinforce
from assay.loops.missing import missing_stats, scored_only, scores_and_missing, without_missing
from assay.loops.own_logp import by_this_pass, one_update, rounds_apart, scored
from assay.loops.reference import known_for_epochs
from assay.loops.statistics import rollout_stats
from assay.loops.updates import update


@dataclass
class Rollouts:
    """One step's completions and what the loop has made of them so far.

    `prepare` receives and returns one, `after` receives it once the policy has been updated. Rows
    are prompts: `batch[rows]` keeps some of them, `batch + more` appends others.

    Attributes:
        step: Number of the step, 0 for the first.
        policy: The policy in training, which sampled the completions.
        optimiser: The policy's optimiser.
        samples: The completions, `[B,N,T]`.
        reward: Their rewards, `[B,N]`, or `[B,N,T]` where the recipe rewards decisions.
        draw: Samples and scores another batch; see `again`.
        batches: How many batches were sampled for this one; `batch + more` adds them up.
        advantage: `[B,N,1]` or `[B,N,T]`. None until `prepare` or the loop's `advantage` sets it.
        stats: Numbers that are written with this step's reading.
    """

    step: int
    policy: Any
    optimiser: Optimiser
    samples: Samples
    reward: Tensor
    draw: Callable[[], tuple[Samples, Tensor]]
    batches: int = 1
    advantage: Tensor | None = None
    stats: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: Tensor | slice) -> Rollouts:
        """Keep the prompts at `rows`: indices, a mask `[B]` or a slice."""
        advantage = None if self.advantage is None else self.advantage[rows]
        return replace(
            self, samples=self.samples[rows], reward=self.reward[rows], advantage=advantage
        )

    def __add__(self, more: Rollouts) -> Rollouts:
        """Append the prompts of another batch of this step. Advantages are taken afterwards."""
        if self.reward.dim() != 2:
            raise InputError(
                f"the rewards have shape {list(self.reward.shape)}; batches can be joined only "
                "where a completion has one reward, [B,N]"
            )
        return replace(
            self,
            samples=cat([self.samples, more.samples]),
            reward=torch.cat([self.reward, more.reward]),
            batches=self.batches + more.batches,
            advantage=None,
        )

    def again(self) -> Rollouts:
        """Sample and score the next batch of prompts with the same policy. Its cost is counted."""
        samples, reward = self.draw()
        return replace(self, samples=samples, reward=reward, batches=1, advantage=None)


def leave_one_out_advantage(reward: Tensor, x: Samples) -> Tensor:
    """Reward minus the mean of the prompt's other completions, `[B,N] → [B,N,1]`."""
    return leave_one_out(require_group(reward), x.present)[..., None]


def require_group(reward: Tensor) -> Tensor:
    """Return the reward `[B,N]`; raise InputError where prompts have one completion only."""
    if reward.shape[1] < 2:
        raise InputError(
            "--num-generations is 1, and these advantages compare the completions of a prompt "
            "with one another; give at least 2"
        )
    return reward


def policy_gradient(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
    """The on-policy policy gradient as a loss: −A·log π, `[B,N,T]`.

    Args:
        logp: log π of each decision, `[B,N,T]`.
        rows: The completions; not read, every loss of the loop is given them.
        advantage: A, `[B,N,T]` or `[B,N,1]`; no gradient flows into it.

    Returns:
        The unreduced loss `[B,N,T]`.
    """
    return reinforce(logp, advantage)


def online(
    task: Task,
    loop: Loop,
    *,
    score: Callable[[Samples], Tensor],
    reward: Callable[[Samples], Tensor] | None = None,
    prepare: Callable[[Rollouts], Rollouts] | None = None,
    advantage: Callable[[Tensor, Samples], Tensor] = leave_one_out_advantage,
    loss: Callable[[Tensor, Samples, Tensor], Tensor] = policy_gradient,
    reduce: Callable[[Tensor], Tensor] = per_completion,
    after: Callable[[Rollouts], None] | None = None,
    rollout: Callable[[Any, int], Samples] | None = None,
    policy: Any = None,
    split: Split = "completions",
    against_reference: bool = False,
    reads_logp: bool | None = None,
    lists: bool = False,
) -> Iterator[Step]:
    """Run the online loop and yield one Step after each of `loop.max_steps` updates.

    Everything but `loss` runs without gradient. A batch that `prepare` leaves empty is not
    descended on: the step changes nothing. A step is skipped where the policy samples by
    log-probabilities that are not finite. Each step records what `rollout_stats` says of all its
    completions, also of those that `prepare` leaves out; rewards that are filled in because no
    reward model applies are no part of it, and their share is "frac_reward_missing".

    Args:
        task: Prompts, reference, randomness and memory of the run.
        loop: Constants of the optimisation.
        score: `score(samples) → [B,N]`: the proxy, which every reading reports.
        reward: `reward(samples) → [B,N]` or `[B,N,T]`: what is optimised. Default: `score`.
        prepare: `prepare(batch) → batch`, called before the advantages are taken.
        advantage: `advantage(reward, samples) → [B,N,1]` or `[B,N,T]`. Not called where `prepare`
            has set the batch's advantage. Default: leave-one-out.
        loss: `loss(logp, rows, advantage) → [B,N,T]`, unreduced. `rows.logp` is the log-probability
            at sampling time. Default: the policy gradient.
        reduce: Weights of the loss, see `formulas/reduce.py`. Default: per completion.
        after: `after(batch)`, called after the update; what it adds to `batch.stats` is recorded.
        rollout: `rollout(policy, number) → samples`: samples the run's batch of this number.
            Default: `loop.num_generations` completions to each of `loop.batch_size` prompts.
        policy: The policy to train: what has `sample`, `logp`, parameters and a state. Default: a
            copy of the reference.
        split: What a micro-batch may part. "completions": the loss of a completion depends on no
            other completion. "prompts" for a loss that compares a prompt's completions.
        against_reference: `loss` asks for the reference's log-probabilities of its rows: they are
            computed once a step, however many epochs it has.
        reads_logp: Whether `reward`, `prepare`, `advantage` or `after` reads `samples.logp`. In
            half precision the policy then scores what it drew; if not, and a step makes one update,
            the update's own pass serves. Default: whether any of them is given.
        lists: Rewards become labels of ranked lists: a completion to which no reward model applies
            is absent from its list, since the mean that is filled in would be a label.
    """
    actor: Any = task.reference.copy() if policy is None else policy
    optimiser = loop.optimiser(actor)
    carry: Any = task.carry.keep(policy=actor, opt=optimiser, batches=0)
    # what this step sampled, also what `prepare` drops, and which rewards are filled in
    drawn: list[tuple[Samples, Tensor, Tensor | None]] = []
    # at sampling time, log π is what drawing knew, or where that rounds apart, what scoring says
    apart = rollout is None and rounds_apart(actor)
    own = any((reward, prepare, after)) or advantage is not leave_one_out_advantage
    by_pass = apart and not (own if reads_logp is None else reads_logp) and one_update(loop)

    def draw() -> tuple[Samples, Tensor]:
        number: int = carry.batches  # the step's own, unless a step before it sampled again
        carry.batches = number + 1
        if rollout is not None:
            x = rollout(actor, number)
        else:
            rng = task.rng("sample", number)
            x = actor.sample(task.batch(loop, number), loop.num_generations, rng)
            x = scored(actor, x) if apart and not by_pass else x
        r, missing = scores_and_missing(reward or score, x)
        drawn.append((x, without_missing(r, missing), missing))
        return (scored_only(x, missing) if lists else x), r

    def broken(x: Samples) -> bool:
        """Whether the policy's own log-probabilities are not finite: nothing can be learned."""
        if rollout is not None or not bool((~torch.isfinite(x.logp) & x.mask).any()):
            return False
        nonfinite.logps("policy", x, x.logp)
        return True

    def prepared(t: int) -> Rollouts:
        batch = Rollouts(t, actor, optimiser, *draw(), draw=draw)
        if broken(batch.samples):
            return batch
        if prepare is not None:
            batch = prepare(batch)
        if batch.advantage is None and len(batch):
            batch.advantage = advantage(batch.reward, batch.samples)
        return batch

    for t in carry.steps(loop.max_steps):
        with torch.no_grad():  # descend alone needs a gradient, and enables it
            drawn.clear()
            batch = prepared(t)
            x, A, stats = batch.samples, batch.advantage, {}

            def of(rows: Samples, i: Index, A: Any = A) -> Tensor:
                logp = nonfinite.logps("policy", rows, actor.logp(rows))
                return loss(logp, by_this_pass(rows, logp) if by_pass else rows, A[i])

            if unusable := broken(x):
                stats = skipped(optimiser, x, log_probability=torch.nan)
            elif len(x):
                rng = task.rng("minibatch", t)
                if against_reference:
                    x = known_for_epochs(task.reference, x, loop)
                stats = update(optimiser, of, x, loop, rng, reduce=reduce, split=split)
            sampled = rollout_stats((x, r) for x, r, _ in drawn)
            sampled |= missing_stats((x, missing) for x, _, missing in drawn)
            batch.stats = {**stats, **sampled, **batch.stats}
            if after is not None and not unusable:
                after(batch)
        yield Step(actor, reward=score, stats=batch.stats)
