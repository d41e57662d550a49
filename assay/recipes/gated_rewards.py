"""Gated reward accumulation (G-RA): pay for steps only where the outcome is good enough.

    R(τ) = R_O + 1[R_O ≥ δ]·c·Σ_t r_t

R_O is the outcome, r_t a step reward and δ the gate. Without the gate (δ = −∞) this is direct
accumulation (D-RA), in which step rewards can be earned without ever finishing. On sums, a policy
is then paid for every line that has the form of a line, and the cheapest way to many lines is never
to answer. At c = 0 it is leave_one_out on the outcome alone.

The gate looks at the whole completion before anything else is done with it: a reward for a step
that depends on the completion's end belongs to the end. The comparison is ≥, not >, or a gate at
the highest level would never open. A gate that is too high makes a sparse reward. It hides
penalties too, so that failing saves them, unless `keep_penalties`.

`process` names the step reward: "format" pays for form and not for truth, "steps" for right steps.
The claim's control is the same comparison with so small a c that all the lines there is room for
are worth less than the answer: gating should matter less there, and the claim is that difference of
differences.

No released code was at hand. The paper's rewards are those of software agents; what carries over to
sums is the accumulation alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.process import gated
from assay.loops import online, proxy_score
from assay.stats.effects import Reading, final

paper = Paper(
    "Stabilizing Long-term Multi-turn Reinforcement Learning with Gated Rewards",
    "Sun et al.",
    2025,
    "arXiv:2508.10548",
)
reduces = {"leave_one_out": ({"weight": 0.0}, {})}


def recipe(
    task: Task,
    *,
    gate: float = 1.0,
    accumulate: bool = True,
    weight: float = 3.0,
    process: str = "format",
    keep_penalties: bool = False,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train against the gated sum and yield the policy after each step.

    Args:
        gate: Outcome δ from which step rewards count.
        accumulate: Use the gate; False for D-RA, which has none.
        weight: Weight c of the step rewards.
        process: Name of the step reward.
        keep_penalties: Gate only what is above 0.
        member: Index of the reward model that is the outcome.
    """
    outcome, steps = proxy_score(task, member), task.rewards.named(process)

    def score(x: Samples) -> Tensor:
        bonus = weight * steps.steps(x)[0].sum(-1)
        return gated(
            outcome(x), bonus, gate=gate if accumulate else -math.inf, keep_penalties=keep_penalties
        )

    yield from online(task, loop, score=score)


@Claim(
    "Where step rewards can be farmed, a gate on the outcome keeps gold at the end that plain "
    "accumulation loses, and where they cannot, it does not.",
    arms={
        "gated": ("gated_rewards", {}),
        "plain": ("gated_rewards", {"accumulate": False}),
        "gated_small": ("gated_rewards", {"weight": 0.3}),
        "plain_small": ("gated_rewards", {"accumulate": False, "weight": 0.3}),
    },
    turns="plain",
    worlds=("sums",),
    least={"gate": 0.05, "more than where farming does not pay": 0.05},
    seeds="100..104",
    control=("more than where farming does not pay",),
    broken="a weight of the step rewards at which farming does not pay, with the same gate",
    differs={"seconds": "policies that answer early write shorter completions"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """What the gate adds to final gold (the share of right answers) at a weight that invites
    farming, and how much more that is than at one that does not.
    """
    gate = final(arms["gated"]) - final(arms["plain"])
    idle = final(arms["gated_small"]) - final(arms["plain_small"])
    return {"gate": gate, "more than where farming does not pay": gate - idle}
