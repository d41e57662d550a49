"""SALSA: pay the KL penalty to the weight average of two supervised policies.

    r − β·Σ_t log(π/π_ref),  θ_ref = (1−share)·θ₁ + share·θ₂,  the policy starting at θ₁

It differs from kl_in_reward in what it is anchored to. θ₁ and θ₂ come from one start: two
fine-tunes of the task's reference on its demonstrations, `tuning` updates each in orders of their
own (or `task.others` named first and second, where the world has them). What they are averaged
into:

    soup              the weights, linearly
    first, second     one of them alone: the usual anchor, and the control
    start             what both were tuned from: another control, because their soup lies nearer to
                      it than either of them
    prediction        the probabilities, (1−share)·π₁ + share·π₂ a decision
    moving_average    the policy's own past, followed at `rate` a step (WARP's anchor)
    elsewhere         the negative control: as far from θ₁ in every layer as the soup, with the
                      entries of θ₂ − θ₁ in random order

Traps. At step 0 the policy is θ₁ and KL(θ₁‖soup) > 0: the penalty pulls before there is any reward.
So KL is read to the common start here, and `kl/first` and `kl/anchor` stand beside it. An anchor
that lies farther from θ₁ than θ₁ itself penalises the same policies less: "θ₁ at a smaller β" is
the control that decides. And a soup lies nearer to the common start, from which KL is read: "the
start itself" is the other one.

Here: in a log-linear policy (a table) averaging weights is the normalised geometric mean of the
policies, and SALSA is a prior that is a product of experts: nothing is to be expected there, and
`tests/test_recipes_averaging.py` holds the identity. A network can show something else, so the
claim runs on grammar, small enough for forty seeds; there the soup gives more than one policy, and
is not told from the start. Averages of two whole runs, and steps back to the start: see `merging`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import (
    Claim,
    InputError,
    Loop,
    Missing,
    Paper,
    Policy,
    Rng,
    Samples,
    Step,
    Task,
    order,
)
from assay.engine.descend import descend
from assay.formulas.averaging import linear, towards
from assay.formulas.divergence import k1
from assay.formulas.reduce import per_token
from assay.loops import Rollouts, leave_one_out_advantage, online, proxy_score
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "SALSA: Soup-based Alignment Learning for Stronger Adaptation in RLHF",
    "Chegini et al.",
    2024,
    "arXiv:2411.01798",
)
reduces = {"kl_in_reward": ({"reference": "first", "tuning": 0}, {})}

ANCHORS = ("soup", "first", "second", "start", "prediction", "moving_average", "elsewhere")


def recipe(
    task: Task,
    *,
    reference: str = "soup",
    share: float = 0.5,
    beta: float = 0.1,
    rate: float = 0.05,
    tuning: int = 20,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train with the penalty to the anchor and yield the policy after each step.

    Args:
        reference: The anchor: soup, first, second, start, prediction, moving_average or elsewhere.
        share: Share of the second policy in it, from 0 to 1.
        beta: Weight of the KL penalty, in units of the proxy per nat.
        rate: Of the moving average, from 0 to 1.
        tuning: Updates of each of the two fine-tunes.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if reference not in ANCHORS:
        raise InputError(f"--reference is '{reference}'; it is one of {', '.join(ANCHORS)}")
    if not 0 <= share <= 1 or not 0 <= rate <= 1 or tuning < 0:
        raise InputError(
            f"--share is {share}, --rate {rate} and --tuning {tuning}; the first two are from 0 to "
            "1, and the last is at least 0"
        )
    policy, score = task.reference.copy(), proxy_score(task, member, aggregate)
    first, second = (_Module(task.reference.copy()) for _ in range(2))
    carry: Any = task.carry.keep(first=first, second=second, ready=False)
    if not carry.ready:
        supervised(task, (first.policy, second.policy), tuning, loop)
        policy.load_state_dict(first.state_dict())
        carry.ready = True
    anchor = task.reference.copy()
    moves = reference in ("soup", "moving_average", "elsewhere")
    if moves:
        there = second.state_dict()
        if reference == "elsewhere":
            there = scrambled(first.state_dict(), there, task.rng("elsewhere"))
        far = 0.0 if reference == "moving_average" else share
        anchor.load_state_dict(linear(first.state_dict(), there, share=far))
        carry.keep(anchor=_Module(anchor))

    def anchored(x: Samples) -> Tensor:
        if reference == "prediction":
            parts = [(1 - share, first.policy), (share, second.policy)]
            each = torch.stack([p.logp(x) + math.log(w) for w, p in parts if w > 0]).logsumexp(0)
            return torch.where(x.mask, each, each.new_zeros(()))
        # "start" is the anchor as it was made: a copy of the task's reference
        return {"first": first.policy, "second": second.policy}.get(reference, anchor).logp(x)

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        penalty = beta * k1(x.logp, anchored(x)).sum(-1)  # new in this paper: the anchor
        return leave_one_out_advantage(reward - penalty.to(reward.dtype), x)

    def after(batch: Rollouts) -> None:
        if reference == "moving_average":
            anchor.load_state_dict(towards(anchor.state_dict(), policy.state_dict(), rate=rate))
        batch.stats["kl/first"] = float(policy.kl(first.policy, batch.samples).mean())
        if moves:
            batch.stats["kl/anchor"] = float(policy.kl(anchor, batch.samples).mean())

    yield from online(task, loop, score=score, advantage=advantage, after=after, policy=policy)


class _Module:
    """A frozen policy as the carry keeps it: a state, and no parameters to train."""

    def __init__(self, policy: Policy):
        self.policy: Any = policy

    def state_dict(self) -> dict[str, Any]:
        return dict(self.policy.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.policy.load_state_dict(state)


def scrambled(a: dict[str, Any], b: dict[str, Any], rng: Rng) -> dict[str, Any]:
    """Weights as far from `a` as `b` in every tensor, in a direction that says nothing.

    Args:
        a: Weights by name.
        b: Others of the same names.
        rng: Address of the orders.

    Returns:
        a + the entries of b − a in random order; what is no weight is b's.
    """
    out = dict(b)
    for i, (name, w) in enumerate(a.items()):
        if torch.is_floating_point(w):
            apart = (b[name] - w).flatten()
            out[name] = w + apart[rng("tensor", i).permutation(len(apart))].reshape(w.shape)
    return out


def supervised(task: Task, policies: tuple[Policy, Policy], tuning: int, loop: Loop) -> None:
    """Make two supervised policies from one start, in place.

    They are the world's own, or fine-tunes in orders of their own.
    """
    try:
        named = [task.others[k] for k in ("first", "second")]
    except (Missing, KeyError):
        named = []
    for m, policy in enumerate(policies):
        if named:
            policy.load_state_dict(named[m].state_dict())
            continue
        opt = loop.optimiser(policy)
        for t in range(tuning):
            shown = task.demos[order(len(task.demos), loop.batch_size, t, task.rng("tuning", m))]

            def loss(rows: Samples, _: Tensor, policy: Policy = policy) -> Tensor:
                return -policy.logp(rows)

            descend(opt, loss, shown, reduce=per_token)


# a language, a network and runs that are small enough for many seeds, and still over-optimise
_SMALL = {
    "width": 48,
    "layers": 2,
    "sft_steps": 100,
    "demos": 1000,
    "members": 1,
    "pairs": 500,
    "reward_width": 32,
    "reward_layers": 1,
    "reward_steps": 80,
    "held_out": 24,
    "max_tokens": 16,
}
_LOOP = {"max_steps": 16, "batch_size": 8, "learning_rate": 1e-3}
REACH = 2.0  # √KL up to which constants are chosen
BETAS = (0.1, 0.3, 1.0, 3.0)


def by(readings: list[Reading]) -> float:
    """Mean gold up to √KL = REACH, or as far as the run came."""
    return gold_over(readings, REACH)


@Claim(
    "At equal KL to the common start, a soup as the anchor gives more gold than one policy and "
    "than the start itself, each at the best of as many penalties, and than an anchor as far away "
    "that is no soup.",
    arms={
        "soup": ("salsa", {**_LOOP}),
        "first": ("salsa", {"reference": "first", **_LOOP}),
        "start": ("salsa", {"reference": "start", **_LOOP}),
        "elsewhere": ("salsa", {"reference": "elsewhere", **_LOOP}),
    },
    worlds=("grammar",),
    on={"grammar": _SMALL},
    tuned={**{arm: {"beta": BETAS} for arm in ("soup", "first", "start")}, "elsewhere": "soup"},
    by=by,
    # a tenth of what the runs lose from their peak
    least={"over first": 0.05, "over start": 0.05, "over elsewhere": 0.05},
    seeds="300..339",
    control=("over elsewhere",),
    broken="the entries of θ₂ − θ₁ are in random order, at the same distance from θ₁",
    differs={"seconds": "an arm waits for whatever else the machine does"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the range of √KL that both runs reached: to the first policy as
    anchor, to the common start, and to an anchor as far away in a random direction.
    """
    others = ("first", "start", "elsewhere")
    return {f"over {other}": matched_gain(arms["soup"], arms[other]) for other in others}
