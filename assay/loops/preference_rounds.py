"""Self-play on a preference model: rounds of sampling, judging and regression, and exact steps.

In a fitted round the policy π_k answers, `task.preference` compares the answers, and the policy is
fitted to the comparisons for `round_steps` updates. What a round holds lies in the carry, so that a
run that is killed within a round goes on within it. An exact step has every completion in place of
samples, for a table of one decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Pairs, Policy, Rng, Samples, Step, Task
from assay.engine.nonfinite import nonfinite
from assay.errors import InputError
from assay.formulas.reduce import per_pair
from assay.formulas.self_play import win_proportions
from assay.loops.own_logp import rounds_apart, scored
from assay.loops.pairs import Margins
from assay.loops.reference import reference_known, with_reference_logp
from assay.loops.self_play import every_completion, reference_win_rate
from assay.loops.statistics import completion_stats
from assay.loops.updates import update
from assay.models.policies.table import TablePolicy


def self_play_wins(task: Task, x: Samples) -> Float[Tensor, "B N"]:
    """Share of a prompt's other completions that each completion beats."""
    return win_proportions(task.preference(x, x), x.present)


def exact_rounds(
    task: Task,
    loop: Loop,
    step: Callable[[Tensor, Tensor, Tensor, Any], Tensor],
    *,
    average: bool = False,
    **first: Any,
) -> Iterator[Step]:
    """Play exact steps on a table of one decision and yield the policy after each.

    Each step asks for all comparisons once, so that they are counted as a step's cost.

    Args:
        task: Reference, preference model and memory of the run.
        loop: Gives the number of steps.
        step: `step(logp, wins, reference, carry) → logp`, all `[R,V]` in float64; `wins` is
            P(·≻π).
        average: Yield the mean of all policies so far instead of the last one.
        first: First values of what the step keeps in the carry.
    """
    policy: Any = task.reference.copy()
    every, score = every_completion(policy), reference_win_rate(task)
    with torch.no_grad():
        reference = policy.logits.double().log_softmax(-1)
    carry: Any = task.carry.keep(policy=policy, summed=torch.zeros_like(reference), **first)
    for t in carry.steps(loop.max_steps):
        with torch.no_grad():
            logp = policy.logits.double().log_softmax(-1)
            wins = _against(task, every, logp)
            carry.summed = carry.summed + logp.exp()
            stats = {"self_play/exploitability": float((wins.amax(-1) - 0.5).mean())}
            policy.logits.copy_(step(logp, wins, reference, carry))
            shown = mean_policy(policy, carry.summed / (t + 1)) if average else policy
        yield Step(shown, reward=score, stats=stats)


def _against(task: Task, every: Samples, logp: Tensor) -> Tensor:
    """P(y ≻ π) of every completion y, `[R,V]`."""
    P = task.preference(every, every).double() + 0.5
    return (P @ logp.exp()[..., None])[..., 0]


def mean_policy(like: TablePolicy, probs: Float[Tensor, "R V"]) -> TablePolicy:
    """Return a table with these probabilities."""
    least = torch.finfo(like.logits.dtype).tiny
    mean = TablePolicy(
        probs.clamp(min=least).log().to(like.logits.dtype), length=1, words=like.words
    )
    return mean.requires_grad_(False)


def fitted_rounds(
    task: Task,
    loop: Loop,
    *,
    round_steps: int,
    pairs: Callable[[Policy, Samples, int], Pairs],
    loss: Callable[[Pairs, Tensor, Tensor, Tensor], Tensor],
    beta: float,
) -> Iterator[Step]:
    """Play rounds of sampling, judging and regression; yield a Step after each update.

    A round samples `num_generations` completions to each of `batch_size` prompts, and the reading's
    proxy is the win rate over the reference. See `rounds`.

    Args:
        task: Reference, preference model, randomness and memory of the run.
        loop: Constants of the optimisation; `mini_batch_size` counts pairs.
        round_steps: Steps of a round, at least 1.
        pairs: `pairs(policy, completions, round) → pairs`: judges, and chooses what is fitted.
            The pairs' `logp` is π_k's.
        loss: See `rounds`.
        beta: See `rounds`.
    """

    def begin(policy: Policy, k: int) -> tuple[Pairs, dict[str, float]]:
        return _begun(task, loop, policy, k, pairs)

    score = reference_win_rate(task)
    yield from rounds(
        task, loop, round_steps=round_steps, begin=begin, loss=loss, beta=beta, score=score
    )


def rounds(
    task: Task,
    loop: Loop,
    *,
    round_steps: int,
    begin: Callable[[Policy, int], tuple[Pairs | None, dict[str, float]]],
    loss: Callable[[Pairs, Tensor, Tensor, Tensor], Tensor],
    beta: float,
    score: Callable[[Samples], Tensor],
    to_reference: bool = False,
    length_mean: bool = False,
) -> Iterator[Step]:
    """Gather pairs anew in each round and fit the policy to them; yield a Step after each update.

    Args:
        task: Reference, randomness and memory of the run.
        loop: Constants of the optimisation; `mini_batch_size` counts pairs.
        round_steps: Steps of a round, at least 1.
        begin: `begin(policy, round) → (pairs, stats)`: what a round is fitted to, and what its
            first step records. None for the pairs: nothing was found, and the round does nothing.
        loss: `loss(rows, policy, previous, reference) → [b]`, given each pair's difference of
            log-probabilities, first minus second, under π, the pairs' own `logp`, and π₀.
        beta: Scale of the implicit rewards that are recorded.
        score: The proxy of the readings.
        to_reference: Record implicit rewards against π₀ instead of the pairs' own `logp`.
        length_mean: Log-probabilities of a completion are means over its decisions, not sums.
    """
    if round_steps < 1:
        raise InputError(f"--round-steps is {round_steps}; a round has at least 1 step")
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    carry: Any = task.carry.keep(policy=policy, opt=opt, data=None)
    for t in carry.steps(loop.max_steps):
        stats: dict[str, float] = {}
        if t % round_steps == 0:
            with torch.no_grad():
                found, stats = begin(policy, t // round_steps)
            carry.data = None if found is None else reference_known(task.reference, found)
        data, margins = carry.data, Margins(beta)

        def of(rows: Pairs, _: Any, margins: Margins = margins) -> Tensor:
            logp = nonfinite.logps("policy", rows, policy.logp(rows))
            drawn = nonfinite.logps("policy", rows, rows.logp)  # π_k's, which a whole round reads
            reference = with_reference_logp(task.reference, rows).logp
            margins.add(rows, logp, reference if to_reference else drawn)
            each = (gap(v, rows.lengths if length_mean else None) for v in (logp, drawn, reference))
            return loss(rows, *each)

        if data is not None and len(data):
            made = update(opt, of, data, loop, task.rng("minibatch", t), reduce=per_pair)
            stats |= {**made, **margins.means()}
        yield Step(policy, reward=score, stats={**stats, "self_play/pairs": float(len(data or ()))})


def _begun(
    task: Task, loop: Loop, policy: Policy, k: int, pairs: Callable[[Policy, Samples, int], Pairs]
) -> tuple[Pairs, dict[str, float]]:
    """What round k is fitted to, and what it says of its completions."""
    if loop.num_generations < 2:
        raise InputError(
            f"--num-generations is {loop.num_generations}, and completions of a prompt are "
            "compared with one another; give at least 2"
        )
    x = policy.sample(task.batch(loop, k), loop.num_generations, task.rng("sample", k))
    x = scored(policy, x) if rounds_apart(policy) else x
    return pairs(policy, x, k), completion_stats(x)


def gap(
    logp: Float[Tensor, "B N T"], lengths: Int[Tensor, "B N"] | None = None
) -> Float[Tensor, "B"]:
    """Log-probability of the first completion minus that of the second, as sums over decisions.

    Args:
        logp: `[B,N,T]`.
        lengths: Decisions of each, to take means over them; None for sums.
    """
    whole = logp.sum(-1) if lengths is None else logp.sum(-1) / lengths.clamp(min=1)
    return whole[:, 0] - whole[:, 1]


def paired_up(
    x: Samples, rows: Tensor, places: Tensor, *, p: Tensor | None = None, margin: Tensor
) -> Pairs:
    """Return pairs of completions of one prompt each.

    Args:
        x: The completions.
        rows: Prompt of each pair `[M]`.
        places: Its two completions, the better one first where that is known `[M, 2]`.
        p: Probability that the first is better `[M]`; None for 1.
        margin: How much better `[M]`.
    """
    y = x[rows].pick(places)
    dtype = y.logp.dtype
    own = {f.name: getattr(y, f.name) for f in fields(Samples)}
    sure = torch.ones_like(margin) if p is None else p
    return Pairs(**own, p=sure.to(dtype), margin=margin.to(dtype))


def every_pair(x: Samples) -> tuple[Tensor, Tensor]:
    """Return all pairs of two present completions of one prompt: `[M]` rows and `[M,2]` places."""
    first, second = torch.triu_indices(x.mask.shape[1], x.mask.shape[1], 1)
    both = x.present[:, first] & x.present[:, second]
    rows, k = both.nonzero(as_tuple=True)
    return rows, torch.stack([first[k], second[k]], 1)


def labelled(x: Samples, preference: Float[Tensor, "B N N"], rng: Rng, *, soft: bool) -> Pairs:
    """Return all pairs of a prompt's completions with their labels.

    Args:
        x: The completions.
        preference: P(first beats second) − ½.
        rng: Address of the labels.
        soft: The probability itself is the label; else one draw by it, 1 or 0.
    """
    rows, places = every_pair(x)
    p = preference[rows, places[:, 0], places[:, 1]] + 0.5
    if not soft:
        p = (rng.uniform(rows, places[:, 0], places[:, 1], dtype=torch.float64) < p).to(p.dtype)
    return paired_up(x, rows, places, p=p, margin=torch.zeros_like(p))


def side_by_side(a: Samples, b: Samples) -> Samples:
    """Return the completions of both to the same prompts, those of `a` first."""
    T = max(a.mask.shape[2], b.mask.shape[2])
    a, b = replace(a, extra={}).widened(T), replace(b, extra={}).widened(T)
    own: dict[str, Any] = {
        f.name: torch.cat([getattr(a, f.name), getattr(b, f.name)], 1)
        for f in fields(Samples)
        if f.name not in ("prompts", "extra")
    }
    return replace(a, **own)
