"""Process advantage verifiers (PAV): pay a step what it adds to another policy's chance of success.

The other policy μ is the prover:

    A^μ(s_h, a_h) = Q^μ(s_h, a_h) − Q^μ(s_{h−1}, a_{h−1})

with μ's chance from the bare prompt before the first step, and the outcome itself after the last.
The policy descends on A^π + α·A^μ, where A^π is the outcome against the mean of the prompt's other
completions (α = 0 is leave_one_out) and A^μ counts on the tokens of its own step alone. Q^μ is
estimated by continuing from the end of each step `rollouts` times.

Provers: "best" is the best of k continuations of the policy itself, 1 − (1−V)^k, by its unbiased
estimate; "self" the policy; "weak" and "strong" the world's other policies. A prover should tell
steps apart and agree with the policy. A strong one succeeds from nearly anywhere, a weak one from
nowhere. The policy itself says in expectation what the outcome said already: with μ = π the term
scales the gradient by 1 + α.

Traps. The advantage is paid, not Q: Q keeps good states, not good steps. And it is not summed to
go: under any prover the sum over a completion is outcome − V(prompt), so that only a baseline is
left.

Here: the paper fits a network to such rollouts beforehand; here they are sampled anew each step,
from the present policy. The estimate has variance p(1−p)/rollouts, which is no progress, and the
run samples about ten times as many completions as α = 0 at equal steps (reading `generated` says
how many). The arms with a prover all cost the same. `wide` gives outcomes alone about that many
completions, as more prompts a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Claim, Loop, Paper, Policy, Rng, Samples, Step, Task
from assay.errors import InputError
from assay.formulas.process import best_of_k_estimate, on_steps, step_advantages, step_mask
from assay.loops import Rollouts, leave_one_out_advantage, online, proxy_score
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
    """Train on outcomes and progress; yield the policy after each step.

    Args:
        alpha: Weight α of A^μ.
        prover: best, self, weak or strong.
        k: Continuations of the best prover, from 1 to `rollouts`.
        rollouts: Continuations from each step's end, at least 1.
        right: Outcome from which a continuation succeeded.
        member: Index of the reward model that is the outcome.
    """
    if prover not in PROVERS:
        raise InputError(f"--prover is '{prover}'; it is one of {', '.join(PROVERS)}")
    if rollouts < 1 or (prover == "best" and not 1 <= k <= rollouts):
        raise InputError(
            f"--rollouts is {rollouts} and --k {k}; the best of k ≥ 1 is estimated from at least k "
            "continuations"
        )
    score = proxy_score(task, member)

    def prepare(batch: Rollouts) -> Rollouts:
        x, outcome = batch.samples, batch.reward
        A = leave_one_out_advantage(outcome, x)
        if alpha:
            mu = batch.policy if prover in ("best", "self") else task.others[prover]
            step = task.rewards.step_of(x)
            wins = successes(
                mu,
                x,
                step,
                lambda y: (score(y) >= right).to(y.logp),
                rollouts,
                task.rng("prover", batch.step),
            )
            q = best_of_k_estimate(wins, n=rollouts, k=k) if prover == "best" else wins / rollouts
            A = A + alpha * on_steps(advantages(q, (outcome >= right).to(q), step), step)
        batch.advantage = A
        return batch

    yield from online(task, loop, score=score, prepare=prepare)


def successes(
    mu: Policy,
    x: Samples,
    step: Tensor,
    success: Callable[[Samples], Tensor],
    rollouts: int,
    rng: Rng,
) -> Tensor:
    """Count how many continuations of μ succeed, from the prompt and from the end of each step.

    The prompt is continued once for all completions; where there is nothing to continue the count
    is 0.

    Args:
        mu: The prover.
        x: Completions `[B,N,T]`.
        step: Number of each token's step `[B,N,T]`, −1 outside.
        success: Tells which continuations succeed.
        rollouts: Continuations from each place.
        rng: Randomness of the continuations.

    Returns:
        Counts `[B,N,S+1]`: entry 0 from the prompt, entry s + 1 from the end of step s; the last
            step is
        not continued.
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
    """A^μ a step `[B,N,S]`, with the outcome after the last step.

    Args:
        q: Chances of success `[B,N,S+1]`, in the order of `successes`.
        outcome: Outcomes `[B,N]`.
        step: Number of each token's step `[B,N,T]`.
    """
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
