"""CLP: one policy that is steered by the weights of its rewards, after training.

Every prompt of a batch gets weights w on the simplex, and E_w[Σ w_i·E r_i − β·KL] is maximised by
θ(w) = θ_shared + Σ w_i·Δ_i, on all weights of the policy (`parts` full) or on the last layer alone
(logits). The weights travel in `prompts.extra`. A step yields a family: one policy for each of a
grid of weightings, by tag.

It differs from kl_in_reward in the condition, and from its baselines in where it is trained:

    family conditioned    w uniform on the simplex, `groups` different ones a batch
    family soups          corners only, θ_shared kept: separately trained Δ, mixed afterwards
                          (rewarded soups, zero-shot)
    family specialists    one Δ for every weighting of the grid and none shared: the upper bound,
                          at the same total of completions

Rewards are standardised once on the reference's completions, because their scales set what w means.
They are weighted first and compared within a prompt after: standardising each reward within its
group would make w no longer linear. A prompt has one w, so its other completions are a baseline of
the same weighting. The paper also conditions by prompt tokens and by attention weights alone; a
table has neither, and both are left out.

Traps. In log-linear policies mixed logits already are the optimum for linear rewards, π ∝ π₀·e^{Σ
w_i r_i/β}: on a table soups are optimal in the limit, and CLP can only get there sooner or later.
Reward models of one gold conflict by their errors alone; on sums, correct and short conflict in
earnest. Equal completions are not equal updates of each Δ: the specialists get the fewest.

Here: the area that the family's scores cover above the start, at equal completions and equal
updates of the whole. Where β is small and the run short, the family that moves faster covers more,
and θ_shared moves in every step. At a large β, where all arrive, conditioned and soups cover the
same on a table, as they must.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Prompts, Rng, Samples, Step, Task
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k1
from assay.loops import leave_one_out_advantage, member_scores, online, record_kl
from assay.models.policies.conditioned import Conditioned
from assay.stats.effects import Reading

paper = Paper(
    "Conditioned Language Policies (multi-objective finetuning)",
    "Wang et al.",
    2024,
    "arXiv:2407.15762",
)
reduces = {}

FAMILIES = ("conditioned", "soups", "specialists")


def recipe(
    task: Task,
    *,
    family: str = "conditioned",
    members: int = 2,
    parts: str = "full",
    groups: int = 4,
    beta: float = 0.1,
    grid: int = 5,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Iterator[list[Step]]:
    """Train the family and yield its policies after each step.

    Args:
        family: conditioned, soups or specialists.
        members: Reward models or objectives that are weighted, counted from the first; at least 2.
        parts: full (all weights) or logits (the last layer).
        groups: Different weightings a batch.
        beta: Weight of the KL penalty, in units of the standardised rewards per nat.
        grid: Weightings that are read, along each edge of the simplex; at least 2.
        shuffled: Condition on another group's weighting than the one that pays: the negative
            control, which draws and pays the same.
    """
    if family not in FAMILIES:
        raise InputError(f"--family is '{family}'; it is one of {', '.join(FAMILIES)}")
    if members < 2 or grid < 2 or groups < 1:
        raise InputError(
            f"--members is {members}, --grid {grid} and --groups {groups}; at least 2, 2 and 1"
        )
    several, shown = member_scores(task, members), edges(members, grid)
    codes = torch.eye(len(shown)) if family == "specialists" else shown
    policy: Any = Conditioned(
        task.reference, codes.shape[1], parts=parts, shared=family == "conditioned"
    )
    carry: Any = task.carry.keep(centre=None, scale=None)
    if carry.centre is None:
        y = task.reference.sample(task.batch(loop, 0), 32, task.rng("standard"))
        r = several(y)[:, y.present].double()
        carry.centre, carry.scale = r.mean(1), torch.where(r.std(1) > 0, r.std(1), 1.0)

    def value(x: Samples, w: Tensor) -> Tensor:
        r = several(x)
        each = (r - carry.centre.to(r)[:, None, None]) / carry.scale.to(r)[:, None, None]
        return weighted_sum(each, w)

    def rollout(policy: Any, t: int) -> Samples:
        prompts = task.batch(loop, t)
        code, w = drawn(family, shown, codes, groups, prompts, task.rng("weights", t), t)
        if shuffled:
            code = code.roll(1, 0)
        extra = {**prompts.extra, "condition": code, "weights": w}
        return policy.sample(
            replace(prompts, extra=extra), loop.num_generations, task.rng("sample", t)
        )

    def score(x: Samples) -> Tensor:
        return value(x, x.prompts.extra["weights"])

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reference = task.reference.logp(x)
        record_kl(x.logp, reference, x.mask)
        penalty = beta * k1(x.logp, reference).sum(-1)
        return leave_one_out_advantage(reward - penalty.to(reward.dtype), x)

    steps = online(task, loop, score=score, advantage=advantage, rollout=rollout, policy=policy)
    for step in steps:
        yield [
            Step(policy.at(c), reward=partial(value, w=w), tag=name(w), stats=step.stats)
            for c, w in zip(codes, shown, strict=True)
        ]


def edges(members: int, grid: int) -> Tensor:
    """Weightings `[G,M]`: `grid` on each edge of the simplex, corners once, the middle if M > 2."""
    found: dict[tuple[float, ...], None] = {}
    for i in range(members):
        for j in range(i + 1, members):
            for k in range(grid):
                w = [0.0] * members
                w[i], w[j] = 1 - k / (grid - 1), k / (grid - 1)
                found[tuple(w)] = None
    if members > 2:
        found[tuple([1 / members] * members)] = None
    return torch.tensor(list(found))


def drawn(
    family: str, shown: Tensor, codes: Tensor, groups: int, prompts: Prompts, rng: Rng, t: int
) -> tuple[Tensor, Tensor]:
    """The condition `[B,D]` and the reward weights `[B,M]` of every prompt."""
    b, M = torch.arange(len(prompts)), shown.shape[1]
    if family == "conditioned":
        exponential = -rng.uniform(torch.arange(groups)[:, None], torch.arange(M)).log()
        w = (exponential / exponential.sum(-1, keepdim=True))[b % groups]
        return w, w
    if family == "soups":
        corner = torch.eye(M)[(b + t) % M]
        return corner, corner
    g = (b % groups + t * groups) % len(codes)
    return codes[g], shown[g]


def name(w: Tensor) -> str:
    """A weighting as a tag, such as w=0.25,0.75."""
    return "w=" + ",".join(f"{float(v):g}" for v in w)


def area(readings: list[Reading]) -> float:
    """Hypervolume of the last step's policies above the reference's scores, two reward models."""
    last = max(r["step"] for r in readings if r["tag"].startswith("w="))
    zero = readings[0]["rewards"]
    points = sorted(
        (
            (r["rewards"][0] - zero[0], r["rewards"][1] - zero[1])
            for r in readings
            if r["step"] == last and r["tag"].startswith("w=")
        ),
        reverse=True,
    )
    total, height = 0.0, 0.0
    for x, y in points:
        if x > 0 and y > height:
            total, height = total + x * (y - height), y
    return total


@Claim(
    "One policy conditioned on reward weights covers more of the front than a soup of separately "
    "trained ones at equal completions, and than one conditioned on other weights than it is "
    "paid by.",
    arms={
        "mine": ("conditioned_policies", {"beta": 0.3}),
        "soups": ("conditioned_policies", {"family": "soups", "beta": 0.3}),
        "shuffled": ("conditioned_policies", {"beta": 0.3, "shuffled": True}),
        "logits": ("conditioned_policies", {"parts": "logits", "beta": 0.3}),
        "specialists": ("conditioned_policies", {"family": "specialists", "beta": 0.3}),
    },
    worlds=("table", "sums"),
    on={"sums": {"rewards": "outcome,short"}},
    least={"over soups": 2.5},
    seeds={"table": "100..129"},
    tuned={
        "mine": {"learning_rate": (0.025, 0.05, 0.1)},
        "soups": {"learning_rate": (0.025, 0.05, 0.1)},
        "shuffled": "mine",
    },
    by=area,
    control=("over shuffled",),
    broken="conditioned on another prompt's weights than those that pay",
    differs={"seconds": "a conditioned policy adds what all weightings share"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Area above the start for the first two reward models, at the last step: the conditioned
    policy's less the soups', each at its best learning rate, and less the shuffled one's.
    """
    mine = area(arms["mine"])
    return {f"over {k}": mine - area(arms[k]) for k in ("soups", "shuffled")}
