"""RiskPO: optimise a mixed value at risk of bundles of prompts, in place of the mean reward.

Prompts are put into bundles of B, and paper j is the j-th completion of each: its score is R_j, the
sum of their rewards. With the quantiles q_a and q_b of R, tracked over steps,

    A_j = (ω·tail + range)/(1 + ω)
    tail  = −(q_a − R)⁺/a,     range = ((R − q_a)⁺ − (R − q_b)⁺ + (q_a − q_b))/(b − a)
    q_s ← q_s + γ·(s − share of R below q_s)

A_j is the advantage of every completion of paper j (`formulas.risk`). A bundle turns rewards of 0
and 1 into B + 1 levels, so that quantiles mean something and a paper of hard prompts still has a
score. The surrogate is GSPO's: the ratio is the completion's, (π/π_old)^{1/|y|}, clipped on both
sides; a mean over tokens, then over completions; no KL term.

Against GRPO it changes the advantage and the ratio. `score` group keeps GRPO's advantage and the
rest, and `shift` is added to every advantage: the control, see the traps.

Traps. With the constant q_a − q_b, the paper's natural baseline, *no advantage is above 0*. On its
own completions a constant changes nothing in expectation, but negative advantages alone spread the
policy, and keep its entropy up by themselves; so GRPO with a constant shift is the rival to beat,
and `baseline` mean takes the mean of A over the batch away. Quantiles are shared by bundles that
are not equally hard.

Where the released code differs from the paper. It runs one data set without the natural baseline
(`baseline` none), divides A by the deviation of R over the bundle's papers (`divide`), and can
share A among a paper's completions by A·(r_i − r̄_i)/Σ(r − r̄), which explodes where the sum is
nearly 0; that is not here. The last prompts of a batch that fill no bundle are one of their own,
and its sum is scaled to B prompts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.reduce import per_completion_token
from assay.formulas.risk import mixed_score, quantile_step
from assay.formulas.surrogate import clipped
from assay.loops import Rollouts, online, proxy_score, require_group
from assay.stats.effects import Reading, final

paper = Paper(
    "RiskPO: Risk-based Policy Optimization via Verifiable Reward for LLM Post-Training",
    "Ren et al.",
    2025,
    "arXiv:2510.00911",
)
reduces = {"grpo": ({"score": "group"}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    score: Literal["risk", "group"] = "risk",
    bundle: int = 5,
    levels: tuple[float, float] = (0.2, 0.8),
    omega: float = 1.5,
    gamma: float = 0.1,
    baseline: Literal["natural", "none", "mean"] = "natural",
    divide: bool = False,
    shift: float = 0.0,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by RiskPO and yield the policy after each step.

    Args:
        score: risk, the mixed value at risk; or group, GRPO's advantage: the rival.
        bundle: Prompts B of a bundle, at least 1.
        levels: (a, b): the tail lies below the a-quantile, the range between it and the b-quantile.
        omega: Weight ω of the tail.
        gamma: Step γ of the quantiles, in units of a bundle's reward.
        baseline: natural, the paper's constant, with which no advantage is above 0; none; or mean,
            without the batch's mean.
        divide: Divide a paper's advantage by the deviation of its bundle's scores, as released.
        shift: Added to every advantage; a control.
        epsilon_low: The completion's ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The completion's ratio is clipped above at 1 + epsilon_high.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    a, b = levels
    if bundle < 1 or omega < 0 or not 0 < a < b <= 1:
        raise InputError(
            f"--bundle is {bundle}, --levels {a} {b} and --omega {omega}; the bundle must be at "
            "least 1, 0 < a < b ≤ 1, and omega at least 0"
        )
    carry: Any = task.carry.keep(low=None, high=None)

    def risk(batch: Rollouts) -> tuple[Tensor, dict[str, float]]:
        x, reward = batch.samples, require_group(batch.reward)
        which = bundles(len(x), bundle, task.rng("bundles", batch.step).permutation(len(x)))
        total, some = papers(reward.double(), x.present, which, bundle)
        seen = total[some]
        if carry.low is None:
            carry.low, carry.high = (float(seen.quantile(s)) for s in (a, b))
        A = mixed_score(
            total,
            quantiles=(carry.low, carry.high),
            levels=levels,
            omega=omega,
            natural=baseline != "none",
        )
        if divide:
            A = torch.where(some, A / spread(total, some), 0.0)
        carry.low, carry.high = (
            quantile_step(seen, quantile=q, level=s, rate=gamma)
            for q, s in ((carry.low, a), (carry.high, b))
        )
        said = {"risk/low": carry.low, "risk/high": carry.high}
        return torch.where(x.present, A[which], 0.0).to(reward.dtype), said

    def prepare(batch: Rollouts) -> Rollouts:
        here = batch.samples.present
        if score == "risk":
            A, said = risk(batch)
        else:
            reward = require_group(batch.reward)
            A, said = group_standardised(reward, here, eps=1e-4, ddof=1), {}
        if baseline == "mean" and bool(here.any()):
            A = A - A[here].mean()
        batch.advantage = torch.where(here, A + shift, 0.0)[..., None]
        negative = (batch.advantage[..., 0] < 0)[here].double().mean()
        batch.stats = {**batch.stats, **said, "advantage/frac_negative": float(negative)}
        return batch

    def loss(logp: Tensor, rows: Samples, A: Tensor) -> Tensor:
        return by_completion(logp, rows, A, low=epsilon_low, high=epsilon_high)

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        prepare=prepare,
        loss=loss,
        reduce=per_completion_token,
        reads_logp=False,
    )


def by_completion(logp: Tensor, rows: Samples, A: Tensor, *, low: float, high: float) -> Tensor:
    """The clipped surrogate of a completion's ratio (π/π_old)^{1/|y|}, at each of its decisions.

    A completion is inside or outside the clip as a whole. A is `[B,N,1]`, the result `[B,N,T]`.
    """
    count = rows.lengths.clamp(min=1)[..., None]
    mean, old = (of.sum(-1, keepdim=True) / count for of in (logp, rows.logp))
    return clipped(mean, old, A, low=low, high=high).expand_as(logp)


def bundles(prompts: int, size: int, order: Tensor) -> Tensor:
    """Which bundle each of the prompts is in, `[B]`: `size` of them in order, the rest last."""
    which = torch.empty(prompts, dtype=torch.int64)
    which[order] = torch.arange(prompts) // size
    return which


def papers(reward: Tensor, present: Tensor, which: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Score of each bundle's papers, `[G,N]`, and which of them have any completion.

    A paper's score is `size` times the mean of its rewards, so that one with fewer completions is
    on the scale of the others.
    """
    G = int(which.max()) + 1
    here = present.to(reward.dtype)
    none = reward.new_zeros(G, reward.shape[1])
    count = none.index_add(0, which, here)
    total = none.index_add(0, which, torch.where(present, reward, 0.0))
    return size * total / count.clamp(min=1), count > 0


def spread(R: Tensor, some: Tensor) -> Tensor:
    """Deviation of each bundle's papers `[G,1]`, and 1 where they are all equal."""
    n = some.sum(1, keepdim=True).clamp(min=1)
    d = torch.where(some, R - torch.where(some, R, 0.0).sum(1, keepdim=True) / n, 0.0)
    s = (d.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
    return torch.where(s > 1e-12, s, 1.0)


_WORLD = {"task": "modular", "least": 2, "most": 4, "width": 32, "layers": 1, "pass_rate": 0.4}
_WORLD |= {"sft_steps": 160, "sft_lr": 0.01, "pairs": 16, "prompts": 48, "held_out": 24}
_WORLD |= {"taught": 1000, "rewards": "outcome"}
_RUN = {"max_steps": 30, "batch_size": 15, "num_generations": 8}
_RATES = {"learning_rate": (3e-5, 1e-4, 3e-4, 1e-3)}
SHIFT = -0.5  # about the mean advantage of RiskPO with its natural baseline


@Claim(
    "From a policy that fails on hard sums, the mixed value at risk of bundles ends at more right "
    "answers than GRPO's advantage, than that shifted below 0, and than the same score without its "
    "mean.",
    arms={
        "mine": ("risk_po", _RUN),
        "group": ("risk_po", {**_RUN, "score": "group"}),
        "shifted": ("risk_po", {**_RUN, "score": "group", "shift": SHIFT}),
        "centred": ("risk_po", {**_RUN, "baseline": "mean"}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    least={"over group": 0.02, "over shifted": 0.02, "over mean-zero": 0.0},
    seeds="100..119",
    tuned={"mine": _RATES, "group": _RATES, "shifted": _RATES, "centred": "mine"},
    control=("over mean-zero",),
    broken="the batch's mean is taken away, so that advantages are not all negative",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers to held-out sums, minus each rival's."""
    mine = final(arms["mine"])
    rivals = {"over group": "group", "over shifted": "shifted", "over mean-zero": "centred"}
    return {part: mine - final(arms[arm]) for part, arm in rivals.items()}
