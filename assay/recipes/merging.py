"""WARP: merge several runs along the arc between them and draw the result back to the start.

Each of `runs` policies is trained from the same start by leave_one_out with a KL penalty β to the
moving average of its own weights (`rate` a step). What is read and kept after every step is one
policy: the runs merged, `how` linear or spherical (slerp of the differences from the start, tensor
by tensor), and then the share `back` of the way to the start: θ₀ + (1−back)·(θ − θ₀). It differs
from leave_one_out in these three averages, and each can be had alone: runs = 1 leaves the anchor
and the way back, β = 0 the merging.

The runs take turns: step t trains run t mod `runs`, so completions, scores and updates are those of
one run of as many steps. The paper trains each run in full and repeats the whole with the merged
policy as the next start; here is one iteration.

Traps. Merging at equal steps of each compares M times the compute with one run. Half way back to
the start has less KL by construction: only gold at equal KL says anything, against a run that is
stopped earlier. In a table, weights are logits: the way back is a KL-regularised policy at another
β, exactly, and linear merging a product of experts.

Here: the merged runs share the reward model and its errors, and differ in sampled completions
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.averaging import linear, spherical, towards
from assay.formulas.divergence import k1
from assay.formulas.surrogate import reinforce
from assay.loops import (
    completion_stats,
    leave_one_out_advantage,
    proxy_score,
    scores_and_missing,
    update,
)
from assay.stats.effects import Reading, matched_gain

paper = Paper(
    "WARP: On the Benefits of Weight Averaged Rewarded Policies",
    "Ramé et al.",
    2024,
    "arXiv:2406.16768",
)
reduces = {"kl_in_reward": ({"runs": 1, "back": 0.0, "rate": 0.0}, {})}


def recipe(
    task: Task,
    *,
    runs: int = 2,
    how: str = "spherical",
    back: float = 0.3,
    beta: float = 0.1,
    rate: float = 0.05,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train the runs in turn and yield the merged policy after each step.

    Args:
        runs: Policies that take turns, at least 1.
        how: linear or spherical.
        back: Share of the way back to the start, from 0 to 1.
        beta: Weight of the KL penalty to the moving average, in units of the proxy per nat.
        rate: Of the moving average, from 0 to 1; 0 keeps the start as the anchor.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if how not in ("linear", "spherical"):
        raise InputError(f"--how is '{how}'; it is linear or spherical")
    if runs < 1 or not 0 <= back <= 1 or not 0 <= rate <= 1:
        raise InputError(
            f"--runs is {runs}, --back {back} and --rate {rate}; at least one run, the others from "
            "0 to 1"
        )
    score = proxy_score(task, member, aggregate)
    policies: list[Any] = [task.reference.copy() for _ in range(runs)]
    anchors: list[Any] = [task.reference.copy() for _ in range(runs)]
    merged: Any = task.reference.copy()
    opts = [loop.optimiser(p) for p in policies]
    start = {k: v.detach().clone() for k, v in merged.state_dict().items()}
    kept = {
        f"{name}{m}": thing
        for name, things in (("policy", policies), ("anchor", anchors), ("opt", opts))
        for m, thing in enumerate(things)
    }
    for t in task.carry.keep(**kept).steps(loop.max_steps):
        policy, anchor, opt = policies[t % runs], anchors[t % runs], opts[t % runs]
        x = policy.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        with torch.no_grad():
            penalty = beta * k1(x.logp, anchor.logp(x)).sum(-1)
        r, missing = scores_and_missing(score, x)
        A = leave_one_out_advantage(r - penalty.to(r.dtype), x)

        def loss(rows: Samples, i: Tensor, policy: Any = policy, A: Tensor = A) -> Tensor:
            return reinforce(policy.logp(rows), A[i])

        stats = update(opt, loss, x, loop, task.rng("minibatch", t))
        anchor.load_state_dict(towards(anchor.state_dict(), policy.state_dict(), rate=rate))
        merged.load_state_dict(
            linear(one(start, [p.state_dict() for p in policies], how), start, share=back)
        )
        yield Step(merged, reward=score, stats={**stats, **completion_stats(x, r, missing)})


def one(start: dict[str, Tensor], states: list[dict[str, Tensor]], how: str) -> dict[str, Tensor]:
    """Merge all runs with equal shares: the m-th joins the others at 1/m."""
    out = states[0]
    for m, state in enumerate(states[1:], 2):
        out = (
            linear(out, state, share=1 / m)
            if how == "linear"
            else spherical(start, out, state, share=1 / m)
        )
    return out


@Claim(
    "At equal KL and equal budgets, merged runs drawn back to the start keep more gold than one "
    "run with the same KL penalty, than one without, and than one run drawn back as far.",
    arms={
        "mine": ("merging", {}),
        "linear": ("merging", {"how": "linear"}),
        "unmerged": ("merging", {"runs": 1}),
        "penalised": ("kl_in_reward", {}),
        "single": ("leave_one_out", {}),
    },
    turns="single",
    worlds=("table",),
    least={"over penalised": 0.1, "over single": 0.1, "over unmerged": 0.0},
    seeds="100..119",
    control=("over unmerged",),
    broken="one run in place of two, drawn back to the start as far",
    differs={"seconds": "two policies take turns and are merged"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences at equal √KL: to a run with the penalty, to one without, and to one run
    drawn back as far.
    """
    rivals = ("penalised", "single", "unmerged")
    return {f"over {other}": matched_gain(arms["mine"], arms[other]) for other in rivals}
