"""The loops that the plain recipes borrow. Functions and generators, no class; a recipe that differs writes its own.

`score(samples) → [B,N]`, `advantage(reward [B,N], samples) → [B,N,1] or [B,N,T]`,
`loss(logp, rows, advantage) → [B,N,T]`, all without gradient but the last.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Policy, Samples, Step, Task, order
from assay.descend import descend
from assay.errors import InputError
from assay.formulas.advantage import leave_one_out
from assay.formulas.reduce import per_answer, per_pair
from assay.formulas.surrogate import reinforce


def judge(task: Task, member: int = 0) -> Callable[[Samples], Tensor]:
    """One member of the task's rewards as the score `[B,N]`: the single proxy, at one judge's price."""
    one = task.rewards.only([member])
    return lambda x: one(x)[0]


def panel(task: Task, members: int = 0) -> Callable[[Samples], Tensor]:
    """The task's first so many judges `[M,B,N]`, 0 for all of them."""
    return task.rewards.only(range(members or len(task.rewards.names)))


def relative(reward: Tensor, x: Samples) -> Tensor:
    """Leave-one-out advantages, one for all decisions of an answer `[B,N,1]`."""
    return leave_one_out(siblings(reward), x.present)[..., None]


def siblings(reward: Tensor) -> Tensor:
    """The reward `[B,N]` as it is. Raises InputError where an answer has no sibling to be compared with."""
    if reward.shape[1] < 2:
        raise InputError("--n is 1, and these advantages compare a prompt's answers with one another; give at least 2")
    return reward


def policy_gradient(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
    """−A·log π: the on-policy policy gradient."""
    return reinforce(logp, advantage)


def mean_stats(stats: list[dict[str, float]]) -> dict[str, float]:
    """Averages over the updates of one step; "skipped" is a count."""
    out = {k: sum(s[k] for s in stats) / len(stats) for k in stats[0]} if stats else {}
    if stats:
        out["skipped"] = sum(s["skipped"] for s in stats)
    return out


def online(task: Task, loop: Loop, *, score: Callable[[Samples], Tensor],
           advantage: Callable[[Tensor, Samples], Tensor] = relative,
           loss: Callable[[Tensor, Samples, Tensor], Tensor] = policy_gradient,
           reduce: Callable[[Tensor], Tensor] = per_answer) -> Iterator[Step]:
    """Sample, score, take advantages, descend `loop.epochs` times over minibatches, yield."""
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.steps):
        x = policy.sample(task.batch(loop, t), loop.n, task.rng("sample", t))
        A = advantage(score(x), x)

        def of(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return loss(policy.logp(rows), rows, A[i])

        stats = [descend(opt, of, x, reduce=reduce, rows=i) for i in loop.minibatches(len(x), task.rng("minibatch", t))]
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x)})


def offline(task: Task, loop: Loop, *, data: Samples, loss: Callable[[Policy, Any, Any], Tensor],
            reduce: Callable[[Tensor], Tensor] = per_pair, against_reference: bool = True,
            reward: Callable[[Samples], Tensor] | None = None) -> Iterator[Step]:
    """Batches of stored answers; `loss(policy, rows, rows_as_the_reference_sees_them)`.

    The reference's log-probabilities are computed once a batch and handed over as Samples whose `logp` they are.
    """
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.steps):
        x = data[order(len(data), loop.batch, t, task.rng)]
        stats = [descend(opt, lambda rows, _: loss(policy, rows, seen(task.reference, rows) if against_reference else None), x,
                         reduce=reduce, rows=i) for i in loop.minibatches(len(x), task.rng("minibatch", t))]
        yield Step(policy, reward=reward, stats=mean_stats(stats))


def seen(reference: Policy, rows: Samples) -> Samples:
    """The same answers with the reference's log-probabilities, without gradient."""
    with torch.no_grad():
        return replace(rows, logp=reference.logp(rows))


def pair_ratios(policy: Policy, pairs: Pairs, reference: Samples) -> tuple[Tensor, Tensor]:
    """Sequence log-ratios log π/π₀ of chosen and rejected `[B]`, each a sum over decisions, never a mean."""
    ratio = (policy.logp(pairs) - reference.logp).sum(-1)
    return ratio[:, 0], ratio[:, 1]


def describe(x: Samples) -> dict[str, float]:
    """What every online step says of its answers."""
    here = x.present
    count = max(1, int(here.sum()))
    return {"completions/mean_length": float(x.lengths.sum()) / count,
            "completions/clipped_ratio": float((here & ~x.ended).sum()) / count}
