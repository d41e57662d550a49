"""Process advantage verifiers (PAV): a step is paid what it adds to another policy's chance of
success, the prover's.

A^μ(s_h, a_h) = Q^μ(s_h, a_h) − Q^μ(s_{h−1}, a_{h−1}), with μ's chance from the bare prompt before
the first step and the outcome itself after the last; the policy descends on A^π + α·A^μ, where A^π
is the outcome against the siblings' mean (leave_one_out, which α = 0 is) and A^μ counts on the
tokens of its own step alone. Q^μ is estimated by going on from the end of each step `rollouts`
times.

Provers: "best" the best of k goes of the policy itself, 1 − (1−V)^k, by its unbiased estimate;
"self" the policy; "weak" and "strong" the world's other policies. A prover should tell steps apart
and agree with the policy; a strong one succeeds from nearly anywhere, a weak one from nowhere, and
the policy itself says in expectation what the outcome said already: with μ = π the term scales the
gradient by 1 + α. The advantage is paid, not Q: Q keeps good states, not good steps. And it is not
summed to go: under any prover the sum over an answer is outcome − V(prompt), so that only a
baseline is left.

The paper fits a network to such rollouts beforehand; here they are drawn anew each step, from the
present policy, so the estimate has variance p(1−p)/rollouts, which is no progress, and the run
draws about ten times as many answers as α = 0 at equal steps (reading `drawn` says how many). The
arms with a prover all cost the same. `wide` gives outcomes alone about those draws, as more prompts
a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Policy, Rng, Samples, Step, Task
from assay.engine.descend import descend
from assay.errors import InputError
from assay.formulas.process import best_of_k_estimate, on_steps, step_advantages, step_mask
from assay.formulas.reduce import per_answer
from assay.formulas.surrogate import reinforce
from assay.loops.online import describe, judge, mean_stats, relative
from assay.stats.effects import Reading, average

paper = Paper(
    "Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning",
    "Setlur et al.",
    2024,
    "arXiv:2410.08146",
)
reduces = {"leave_one_out": ({"alpha": 0.0}, {})}
PROVERS = ("best", "self", "weak", "strong")


def recipe(
    task: Task,
    *,
    alpha: float = 3.0,
    prover: str = "best",
    k: int = 4,
    rollouts: int = 4,
    right: float = 0.5,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """alpha: weight of A^μ; prover: best, self, weak or strong; k: of the best prover; rollouts:
    goes from each step's end; right: the outcome from which a go succeeded; member: the outcome.
    """
    if prover not in PROVERS:
        raise InputError(f"--prover is '{prover}'; it is one of {', '.join(PROVERS)}")
    if rollouts < 1 or (prover == "best" and not 1 <= k <= rollouts):
        raise InputError(
            f"--rollouts is {rollouts} and --k {k}; the best of k ≥ 1 is estimated from at least k "
            "goes"
        )
    policy = task.reference.copy()
    opt = loop.optimiser(policy)
    score = judge(task, member)
    for t in task.carry.keep(policy=policy, opt=opt).steps(loop.max_steps):
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        outcome = score(x)
        A = relative(outcome, x)
        if alpha:
            mu = policy if prover in ("best", "self") else task.others[prover]
            step = task.rewards.step_of(x)
            wins = goes(
                mu,
                x,
                step,
                lambda y: (score(y) >= right).to(y.logp),
                rollouts,
                task.rng("prover", t),
            )
            q = best_of_k_estimate(wins, n=rollouts, k=k) if prover == "best" else wins / rollouts
            A = A + alpha * on_steps(advantages(q, (outcome >= right).to(q), step), step)

        def loss(rows: Samples, i: Tensor, A: Tensor = A) -> Tensor:
            return reinforce(policy.logp(rows), A[i])

        stats = [
            descend(opt, loss, x, reduce=per_answer, rows=i)
            for i in loop.minibatches(len(x), task.rng("minibatch", t))
        ]
        yield Step(policy, reward=score, stats={**mean_stats(stats), **describe(x)})


def goes(
    mu: Policy,
    x: Samples,
    step: Tensor,
    success: Callable[[Samples], Tensor],
    rollouts: int,
    rng: Rng,
) -> Tensor:
    """How many of `rollouts` goes of μ succeed from the prompt (entry 0) and from the end of each
    step but the last (entry s + 1) `[B,N,S+1]`. The prompt is gone on from once, for all answers;
    where there is nothing to go on from it is 0.
    """
    B, N, T = x.mask.shape
    S = step_mask(step).shape[-1]
    ends = torch.arange(-1, S, device=step.device)
    wanted = (ends >= 0) & (ends < step.amax(-1, keepdim=True))  # [B,N,S+1]
    wanted[:, 0, 0] = True
    flat = wanted.flatten(1)
    order = flat.long().argsort(dim=-1, descending=True, stable=True)[:, : int(flat.sum(-1).max())]
    each = torch.arange(N, device=step.device).repeat_interleave(S + 1).expand(B, -1)
    start = x.pick(each.gather(1, order))
    upto = ends.repeat(N).expand(B, -1).gather(1, order)
    kept = step.gather(1, each.gather(1, order)[..., None].expand(-1, -1, T)) <= upto[..., None]
    start = replace(
        start,
        mask=start.mask & kept,
        given=start.given & kept,
        logp=torch.where(kept, start.logp, 0.0),
        ended=torch.zeros_like(start.ended),
    )
    times = (
        torch.arange(order.shape[1], device=step.device).repeat_interleave(rollouts).expand(B, -1)
    )
    y = mu.sample(x.prompts, flat.sum(-1) * rollouts, rng, start.pick(times))
    won = torch.where(y.present, success(y), 0.0).unflatten(1, (-1, rollouts)).sum(-1)
    out = (
        won.new_zeros(B, N * (S + 1))
        .scatter(1, order, won * flat.gather(1, order))
        .view(B, N, S + 1)
    )
    out[..., 0] = out[:, :1, 0]
    return out


def advantages(q: Tensor, outcome: Tensor, step: Tensor) -> Tensor:
    """A^μ a step `[B,N,S]`: q `[B,N,S+1]` as `goes` orders it, and the outcome after the last step."""
    last = step.amax(-1, keepdim=True)
    after = torch.where(
        torch.arange(q.shape[-1] - 1, device=step.device) == last, outcome[..., None], q[..., 1:]
    )
    return step_advantages(after, q[..., 0], step_mask(step))


_SMALL = {"batch_size": 8, "num_generations": 4, "max_steps": 60}


@Claim(
    "Paid by progress under the best of four of itself, a policy learns faster than paid by its "
    "own progress or by outcomes.",
    arms={
        "best": ("process_advantage", _SMALL),
        "self": ("process_advantage", {**_SMALL, "prover": "self"}),
        "strong": ("process_advantage", {**_SMALL, "prover": "strong"}),
        "outcome": ("process_advantage", {**_SMALL, "alpha": 0.0}),
        "wide": ("process_advantage", {**_SMALL, "alpha": 0.0, "batch_size": 96}),
    },
    worlds=("sums",),
    on={"sums": {"pass_rate": 0.2}},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold over the run: above the policy as its own prover, and above outcomes alone, at
    equal steps.
    """
    return {f"over {k}": average(arms["best"]) - average(arms[k]) for k in ("self", "outcome")}
