"""The loops that the plain recipes borrow. Functions and generators, no class; a recipe that
differs writes its own.

`score(samples) → [B,N]`, `advantage(reward [B,N], samples) → [B,N,1] or [B,N,T]`,
`loss(logp, rows, advantage) → [B,N,T]`, all without gradient but the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Policy, Samples, Step, Task, order
from assay.core.reward import Checked
from assay.engine.descend import descend
from assay.engine.parallel import sum_
from assay.errors import InputError
from assay.formulas.advantage import leave_one_out
from assay.formulas.aggregate import mean, quantile, uncertainty_weighted, worst
from assay.formulas.reduce import per_answer, per_pair
from assay.formulas.surrogate import reinforce


def judge(task: Task, member: int = 0, aggregate: str = "") -> Callable[[Samples], Tensor]:
    """The score `[B,N]`: one member of the task's rewards, at one judge's price, or all of them
    made one.

    aggregate: "" for `member` alone; "mean", "worst", "uncertainty:0.5" (mean − 0.5·variance) or
    "quantile:0.25" of the whole panel, the number to be chosen. With it, `member` has no say.
    """
    if not aggregate:
        one = where_it_applies(task.rewards.only([member]))
        return lambda x: one(x)[0]
    several, join = panel(task), joined(aggregate)
    return lambda x: join(several(x))


def where_it_applies(reward: Checked) -> Callable[[Samples], Tensor]:
    """A reward whose NaN ("does not apply") neither raises nor lowers an answer: it is given what
    the member gives the prompt's other answers on average, 0 where it applies to none. A reward
    that always applies is left as it is.
    """
    if not reward.partial:
        return reward

    def filled(x: Samples) -> Tensor:
        scores = reward(x)
        applies = x.present & ~torch.isnan(scores)
        total = torch.where(applies, scores, scores.new_zeros(())).sum(-1, keepdim=True)
        mean = total / applies.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(applies | ~x.present, scores, mean)

    return filled


def joined(aggregate: str) -> Callable[[Tensor], Tensor]:
    """The aggregator `[M,B,N] → [B,N]` that a word such as "worst" or "quantile:0.25" names. Raises
    InputError for no such.
    """
    name, _, constant = aggregate.partition(":")
    plain = {"mean": mean, "worst": worst}
    takes: dict[str, tuple[float, float, Callable[[Tensor, float], Tensor]]] = {
        "uncertainty": (0.0, math.inf, lambda r, c: uncertainty_weighted(r, lam=c)),
        "quantile": (0.0, 1.0, lambda r, c: quantile(r, q=c)),
    }
    if name in plain and not constant:
        return plain[name]
    try:
        low, high, join = takes[name]
        c = float(constant)
    except (KeyError, ValueError):
        c, low, high = math.nan, 0.0, 0.0
    if not low <= c <= high or math.isinf(c):
        raise InputError(
            f"--aggregate is '{aggregate}'; it is empty for one judge, or mean, worst, "
            "uncertainty:0.5 (a weight of at least 0) or quantile:0.25 (from 0 to 1)"
        )
    return lambda r: join(r, c)


def panel(task: Task, members: int = 0) -> Callable[[Samples], Tensor]:
    """The task's first so many judges `[M,B,N]`, 0 for all of them."""
    return where_it_applies(task.rewards.only(range(members or len(task.rewards.names))))


def relative(reward: Tensor, x: Samples) -> Tensor:
    """Leave-one-out advantages, one for all decisions of an answer `[B,N,1]`."""
    return leave_one_out(siblings(reward), x.present)[..., None]


def siblings(reward: Tensor) -> Tensor:
    """The reward `[B,N]` as it is. Raises InputError where an answer has no sibling to be compared
    with.
    """
    if reward.shape[1] < 2:
        raise InputError(
            "--num-generations is 1, and these advantages compare a prompt's answers with one "
            "another; give at least 2"
        )
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


def online(
    task: Task,
    loop: Loop,
    *,
    score: Callable[[Samples], Tensor],
    advantage: Callable[[Tensor, Samples], Tensor] = relative,
    loss: Callable[[Tensor, Samples, Tensor], Tensor] = policy_gradient,
    reduce: Callable[[Tensor], Tensor] = per_answer,
) -> Iterator[Step]:
    """Sample, score, take advantages, descend `loop.epochs` times over minibatches, yield."""
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        A = advantage(score(x), x)

        def of(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return loss(policy.logp(rows), rows, A[i])

        stats = [
            descend(opt, of, x, reduce=reduce, rows=i)
            for i in loop.minibatches(len(x), task.rng("minibatch", t))
        ]
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x)})


def offline(
    task: Task,
    loop: Loop,
    *,
    data: Samples,
    loss: Callable[[Policy, Any, Any], Tensor],
    reduce: Callable[[Tensor], Tensor] = per_pair,
    against_reference: bool = True,
    reward: Callable[[Samples], Tensor] | None = None,
) -> Iterator[Step]:
    """Batches of stored answers; `loss(policy, rows, rows_as_the_reference_sees_them)`.

    The reference's log-probabilities are computed once a batch and handed over as Samples whose
    `logp` they are.
    """
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = data[order(len(data), loop.batch_size, t, task.rng)]
        stats = [
            descend(
                opt,
                lambda rows, _: loss(
                    policy, rows, seen(task.reference, rows) if against_reference else None
                ),
                x,
                reduce=reduce,
                rows=i,
            )
            for i in loop.minibatches(len(x), task.rng("minibatch", t))
        ]
        yield Step(policy, reward=reward, stats=mean_stats(stats))


def paired(
    task: Task,
    loop: Loop,
    *,
    data: Pairs,
    loss: Callable[[Any, Tensor, Tensor], Tensor],
    beta: float,
    prepare: Callable[[Policy, Any, int], Any] = lambda policy, pairs, t: pairs,
) -> Iterator[Step]:
    """Batches of pairs: `loss(rows, logp [b,N,T], the reference's [b,N,T]) → [b]`; the first two
    answers are chosen and rejected.

    `prepare(policy, the whole batch, step)` returns the batch that is descended on. Every step says
    of its pairs what trainers of this family say, with β·(log π − log π₀) as the implicit reward.
    """
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = prepare(policy, data[order(len(data), loop.batch_size, t, task.rng)], t)
        margins = Margins(beta)

        def of(rows: Any, _: Tensor, margins: Margins = margins) -> Tensor:
            logp, reference = policy.logp(rows), seen(task.reference, rows).logp
            margins.add(rows, logp, reference)
            return loss(rows, logp, reference)

        stats = [
            descend(opt, of, x, reduce=per_pair, rows=i)
            for i in loop.minibatches(len(x), task.rng("minibatch", t))
        ]
        yield Step(policy, stats={**mean_stats(stats), **margins.means()})


class Margins:
    """What a step's pairs looked like before its update: sums over micro-batches and processes,
    then means over pairs.
    """

    NAMES = (
        "logps/chosen",
        "logps/rejected",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
    )

    def __init__(self, beta: float):
        self.beta, self.sums = beta, torch.zeros(len(self.NAMES) + 1, dtype=torch.float64)

    def add(self, pairs: Samples, logp: Tensor, reference: Tensor) -> None:
        """Some pairs `[b,N,T]`; those with an absent answer do not count."""
        here = pairs.mask.any(-1).all(-1)
        mine, theirs = (lp.detach().double().sum(-1)[here, :2].cpu() for lp in (logp, reference))
        reward = self.beta * (mine - theirs)
        gap = reward[:, 0] - reward[:, 1]
        self.sums += torch.cat(
            [
                torch.stack([*mine.T, *reward.T, gap, (gap > 0).double()]).sum(1),
                torch.tensor([len(gap)]),
            ]
        )

    def means(self) -> dict[str, float]:
        """By the names that the ecosystem's trainers use; nothing where no pair was seen. All
        processes ask at once.
        """
        total = sum_(self.sums).tolist()
        return (
            {k: v / total[-1] for k, v in zip(self.NAMES, total, strict=False)} if total[-1] else {}
        )


def seen(reference: Policy, rows: Samples) -> Samples:
    """The same answers with the reference's log-probabilities, without gradient."""
    with torch.no_grad():
        return replace(rows, logp=reference.logp(rows))


def ratios(logp: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Sequence log-ratios log π/π₀ of chosen and rejected `[B]` from both `[B,N,T]`, sums over
    decisions, never means.
    """
    ratio = (logp - reference).sum(-1)
    return ratio[:, 0], ratio[:, 1]


def describe(x: Samples) -> dict[str, float]:
    """What every online step says of its answers."""
    here = x.present
    count = max(1, int(here.sum()))
    return {
        "completions/mean_length": float(x.lengths.sum()) / count,
        "completions/clipped_ratio": float((here & ~x.ended).sum()) / count,
    }
