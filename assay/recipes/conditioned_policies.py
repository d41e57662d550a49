"""CLP: one policy that is steered by the weights of its rewards, after training.

Every prompt of a batch gets weights w on the simplex, and E_w[Σ w_i·E r_i − β·KL] is maximised by
θ(w) = θ_shared + Σ w_i·Δ_i, on the weights that `parts` names: all (full), the attention's, the
last layer (logits), or the embedding of the prompt's first token (prompt), so that the policy reads
w as a word. With `beta_high` the KL weight is a condition, too: β·(beta_high/β)^κ, κ uniform on
[0, 1], and θ(w, κ) = θ_shared + (1 − κ)·Σ w_i·Δ_i + κ·Δ_KL. The weights travel in `prompts.extra`.
A step yields a family: one policy for each of a grid of weightings, by tag; with `beta_high` at
both ends of κ.

It differs from kl_in_reward in the condition, and from its baselines in where it is trained:

    family conditioned    w uniform on the simplex, `groups` different ones a batch
    family soups          corners only, θ_shared kept: separately trained Δ, mixed afterwards
                          (rewarded soups, zero-shot); at κ = 1 mixed with the reference
    family specialists    one Δ for every weighting of the grid and none shared

Rewards are standardised once on the reference's completions, because their scales set what w means.
They are weighted first and compared within a prompt after: standardising each reward within its
group would make w no longer linear. A prompt has one w, so its other completions are a baseline of
the same weighting.

Traps. In log-linear policies mixed logits already are the optimum for linear rewards, π ∝ π₀·e^{Σ
w_i r_i/β}: on a table soups are optimal in the limit, and CLP can only get there sooner. So the
claim is judged on small language models, with two verified rewards that conflict in earnest: a
right answer needs a line of work, and shortness forbids it. Both rewards are exact, so that no part
of the area is over-optimisation. Equal completions are not equal updates of each Δ: the specialists
get the fewest, and are a bound only where they get more (the claim's premise).

Here: the area of the front above the origin, as log(area/area), so that no seed counts more than
another by the size of its front.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Prompts, Rng, Samples, Step, Task
from assay.formulas.aggregate import weighted_sum
from assay.formulas.divergence import k1
from assay.loops import leave_one_out_advantage, member_scores, online, record_kl, reference_logp
from assay.models.policies.conditioned import Conditioned, first_token
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
    beta_high: float = 0.0,
    grid: int = 5,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Iterator[list[Step]]:
    """Train the family and yield its policies after each step.

    Args:
        family: conditioned, soups or specialists.
        members: Reward models or objectives that are weighted, counted from the first; at least 2.
        parts: Weights that depend on the condition: full, attention, logits or prompt.
        groups: Different weightings a batch.
        beta: Weight of the KL penalty, in units of the standardised rewards per nat.
        beta_high: Largest weight of the KL penalty; the weight is then a part of the condition and
            the family is read at both ends. 0: one weight for all.
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
    steered = beta_high > 0
    if steered and not 0 < beta < beta_high:
        raise InputError(f"--beta is {beta} and --beta-high {beta_high}; give 0 < beta < beta_high")
    several, shown = member_scores(task, members), shown_of(edges(members, grid), steered)
    codes = codes_of(family, shown, steered)
    policy: Any = Conditioned(
        task.reference,
        codes.shape[1],
        parts=parts,
        shared=family == "conditioned",
        first=first_token(task.prompts) if parts == "prompt" else None,
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

    def beta_of(level: Tensor) -> Tensor:
        return beta * (beta_high / beta) ** level if steered else beta * torch.ones_like(level)

    def rollout(policy: Any, t: int) -> Samples:
        prompts = task.batch(loop, t)
        which = drawn(family, shown, groups, prompts, task.rng("weights", t), t, steered)
        code = codes[which.row] if which.row is not None else codes_of(family, which.at, steered)
        if shuffled:
            code = code.roll(1, 0)
        extra = {**prompts.extra, "condition": code, "weights": which.at[:, :-1]}
        extra["beta"] = beta_of(which.at[:, -1])
        return policy.sample(
            replace(prompts, extra=extra), loop.num_generations, task.rng("sample", t)
        )

    def score(x: Samples) -> Tensor:
        return value(x, x.prompts.extra["weights"])

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reference = reference_logp(task.reference, x)
        record_kl(x.logp, reference, x.mask)
        penalty = x.prompts.extra["beta"][:, None] * k1(x.logp, reference).sum(-1)
        return leave_one_out_advantage(reward - penalty.to(reward.dtype), x)

    steps = online(task, loop, score=score, advantage=advantage, rollout=rollout, policy=policy)
    tags = [name(a[:-1]) + (f" beta={float(beta_of(a[-1])):g}" if steered else "") for a in shown]
    for step in steps:
        yield [
            Step(policy.at(c), reward=partial(value, w=a[:-1]), tag=tag, stats=step.stats)
            for c, a, tag in zip(codes, shown, tags, strict=True)
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


def shown_of(weightings: Tensor, steered: bool) -> Tensor:
    """What is read `[S,M+1]`: every weighting, and the level of the KL weight in [0, 1] last."""
    levels = [0.0, 1.0] if steered else [0.0]
    return torch.cat(
        [torch.cat([weightings, weightings.new_full((len(weightings), 1), k)], 1) for k in levels]
    )


def codes_of(family: str, at: Tensor, steered: bool) -> Tensor:
    """The conditions `[S,D]` of weightings and levels `[S,M+1]`.

    A level κ takes its share from the rewards: ((1 − κ)·w, κ). A soup is trained at the lowest KL
    weight; at a higher one it is mixed with the reference.
    """
    if family == "specialists":
        return torch.eye(len(at))
    w, level = at[:, :-1] * (1 - at[:, -1:]), at[:, -1:]
    return torch.cat([w, level], 1) if steered and family == "conditioned" else w


@dataclass(frozen=True)
class Drawn:
    """What each prompt of a batch is trained for.

    Attributes:
        at: Weights and level `[B,M+1]`.
        row: Which of the weightings that are read it is `[B]`; None where it is any.
    """

    at: Tensor
    row: Tensor | None = None


def drawn(
    family: str, shown: Tensor, groups: int, prompts: Prompts, rng: Rng, t: int, steered: bool
) -> Drawn:
    """The weights and the level of every prompt of step t."""
    b, M = torch.arange(len(prompts)), shown.shape[1] - 1
    if family == "conditioned":
        exponential = -rng.uniform(torch.arange(groups)[:, None], torch.arange(M)).log()
        w = exponential / exponential.sum(-1, keepdim=True)
        level = rng("level").uniform(torch.arange(groups))[:, None] * steered
        return Drawn(torch.cat([w, level.to(w)], 1)[b % groups])
    if family == "soups":
        return Drawn(torch.eye(M + 1)[(b + t) % M])
    g = (b % groups + t * groups) % len(shown)
    return Drawn(shown[g], g)


def name(w: Tensor) -> str:
    """A weighting as a tag, such as w=0.25,0.75."""
    return "w=" + ",".join(f"{float(v):g}" for v in w)


def area(readings: list[Reading]) -> float:
    """Hypervolume of the last step's policies above (0, 0), of the first two rewards."""
    last = max(r["step"] for r in readings if r["tag"].startswith("w="))
    points = sorted(
        (
            tuple(r["rewards"][:2])
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


def log_area(readings: list[Reading]) -> float:
    """The logarithm of `area`, of at least a thousandth."""
    return math.log(max(area(readings), 1e-3))


_WORLD = {"task": "modular", "least": 2, "most": 2, "width": 32, "layers": 1, "pass_rate": 0.5}
_WORLD |= {"sft_steps": 160, "sft_lr": 0.01, "pairs": 16, "prompts": 48, "held_out": 24}
_WORLD |= {"taught": 1000, "rewards": "outcome,short"}
_RUN = {"beta": 0.1, "grid": 3, "max_steps": 24}
_RATES = {"learning_rate": (0.0002, 0.0005, 0.001)}


@Claim(
    "One policy conditioned on reward weights covers more of the front than a soup of separately "
    "trained ones at equal completions, than one that reads the weights in its prompt, and than "
    "one conditioned on other weights than it is paid by.",
    arms={
        "mine": ("conditioned_policies", _RUN),
        "soups": ("conditioned_policies", {**_RUN, "family": "soups"}),
        "prompt": ("conditioned_policies", {**_RUN, "parts": "prompt"}),
        "shuffled": ("conditioned_policies", {**_RUN, "shuffled": True}),
        "bound": ("conditioned_policies", {**_RUN, "family": "specialists", "batch_size": 48}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    # a twentieth of the area; it is enough to be better than a prompt
    least={"room above soups": 0.05, "over soups": 0.05, "over prompt": 0.0},
    seeds="300..309",
    tuned={"mine": _RATES, "soups": _RATES, "prompt": _RATES, "shuffled": "mine", "bound": "soups"},
    by=log_area,
    control=("over shuffled",),
    broken="conditioned on another prompt's weights than those that pay",
    premises=("room above soups",),
    differs={
        "generated": "the premise's specialists get three times as many: for each weighting as "
        "many as the others for all",
        "scored": "the premise's specialists score what they generate",
        "seconds": "a conditioned policy computes each group of prompts by itself",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """log of the area of the front at the last step over that of soups, of prompt conditioning and
    of shuffled conditions. The premise is that soups leave room: specialists that are each trained
    on as much as a whole family cover more.
    """
    mine, soups = log_area(arms["mine"]), log_area(arms["soups"])
    return {
        "room above soups": log_area(arms["bound"]) - soups,
        "over soups": mine - soups,
        "over prompt": mine - log_area(arms["prompt"]),
        "over shuffled": mine - log_area(arms["shuffled"]),
    }
