"""Gated reward accumulation (G-RA): pay for turns only where what matters more is good enough.

    R(τ) = R_O + c·Σ_k Π_{j<k} 1[R_j ≥ δ_j]·Σ_t r_t^(k),    R_0 = R_O, R_j = Σ_t r_t^(j)

R_O is the outcome, which has levels (nothing submitted, an empty patch, one that fails, one that
passes), r_t^(k) the immediate reward of turn t on channel k, in order of priority, and δ_j a gate:
`gate` that of the outcome, `step_gates` those of the channels. Without gates (`accumulate=False`)
this is direct accumulation (D-RA), in which turns can be farmed without ever finishing. At c = 0 it
is leave_one_out on the outcome alone.

The gates look at the whole episode before anything else is done with it, so a turn's reward is paid
at the end. The comparison is ≥, not >, or a gate at the highest level would never open. A gate that
is too high makes a sparse reward. It hides penalties too, so that failing saves them, unless
`keep_penalties`. `permute` is the negative control: the gate is opened by the outcome of another
completion of the prompt, so that as many are open and they say nothing of the episode.

`process` names the channels. The testbed `ticket` has three, selection, calling and
format. On sums there is one turn, and "format" pays for the form of a line, "steps" for right ones.

The weight c is no part of the paper, whose immediate rewards are 1 where they count. Here they are
shares of the turns, and c is tuned for both sides.

Here: at a weight at which turns can be farmed, plain accumulation stops submitting and the gate
keeps most of the outcome, as in the paper; a gate that another episode's outcome opens keeps a
third. With a smaller weight plain accumulation ends where the gated one does, so the gate saves the
tuning of a weight and no more. The outcome alone often ends at a patch that fails. With six files
in place of three every arm does, and nothing can be told.

No released code was at hand. The paper's tasks are those of software agents that read and write
text; what carries over is the accumulation, with levels, turns and priorities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.process import by_priority, gated
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
    gate: float = 0.5,
    step_gates: tuple[float, ...] = (),
    accumulate: bool = True,
    weight: float = 1.0,
    process: tuple[str, ...] = ("format",),
    keep_penalties: bool = False,
    permute: bool = False,
    member: int = 0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train against the gated sum and yield the policy after each step.

    Args:
        gate: Outcome δ from which step rewards count.
        step_gates: Sums of the step rewards from which those of the next priority count, one for
            each channel but the last; none leaves them open.
        accumulate: Use the gates; False for D-RA, which has none.
        weight: Weight c of the step rewards.
        process: Names of the step rewards, the highest priority first.
        keep_penalties: Gate only what is above 0.
        permute: Open the gate by the outcome of another completion of the prompt: a control.
        member: Index of the reward model that is the outcome.
    """
    if step_gates and len(step_gates) != len(process) - 1:
        raise InputError(
            f"--step-gates is {list(step_gates)} and --process is {list(process)}; give a gate for "
            "each step reward but the last, or none"
        )
    outcome, steps = proxy_score(task, member), task.rewards.named(*process)
    inner = step_gates if step_gates and accumulate else (-math.inf,) * (len(process) - 1)

    def score(x: Samples) -> Tensor:
        R = outcome(x)
        bonus = weight * by_priority(steps.steps(x).sum(-1), gates=inner)
        return gated(
            R,
            bonus,
            gate=gate if accumulate else -math.inf,
            keep_penalties=keep_penalties,
            opens=torch.roll(R, 1, dims=1) if permute else None,
        )

    yield from online(task, loop, score=score)


CHANNELS = ("selection", "calling", "format")
_TICKET: dict[str, Any] = {"process": CHANNELS, "gate": 0.5, "step_gates": (0.1, 0.1)}
_TICKET |= {"max_steps": 60, "batch_size": 8, "num_generations": 16}
_GRID = {"weight": (0.1, 0.5, 2.0), "learning_rate": (0.05, 0.15)}
_RATES = {"learning_rate": (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)}
LARGE = 2.0  # a weight at which farming three channels for twenty turns is worth six outcomes


@Claim(
    "Immediate rewards that count only above a gate on the outcome end at a better outcome than "
    "the same rewards without the gate and than the outcome alone, each tuned; at a weight that "
    "invites farming they keep what plain accumulation loses, and a gate that another completion's "
    "outcome opens does not.",
    arms={
        "gated": ("gated_rewards", _TICKET),
        "plain": ("gated_rewards", {**_TICKET, "accumulate": False}),
        "outcome": ("gated_rewards", {**_TICKET, "weight": 0.0}),
        "gated, large": ("gated_rewards", {**_TICKET, "weight": LARGE}),
        "plain, large": ("gated_rewards", {**_TICKET, "weight": LARGE, "accumulate": False}),
        "permuted, large": ("gated_rewards", {**_TICKET, "weight": LARGE, "permute": True}),
    },
    worlds=("table",),
    on={"table": {"testbed": "ticket"}},
    tuned={
        "gated": _GRID,
        "plain": _GRID,
        "outcome": _RATES,
        "gated, large": "",
        "plain, large": "",
        "permuted, large": "",
    },
    # one episode in ten that passes in place of failing is worth 0.05
    least={
        "over plain": 0.05,
        "over the outcome alone": 0.05,
        "at a large weight, over plain": 0.05,
        "at a large weight, over a permuted gate": 0.05,
        "a large weight is farmed": 0.1,
    },
    seeds="400..419",
    control=("at a large weight, over a permuted gate",),
    broken="the gate is opened by the outcome of another completion of the prompt",
    premises=("a large weight is farmed",),
    differs={"seconds": "policies that submit early have shorter episodes"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold, the outcome from 0 to 1, less that of each rival: plain accumulation with a
    weight of its own and no step rewards; and, at the same large weight and learning rate, plain
    accumulation and a gate that knows nothing of the episode. The premise is what the plain one
    loses there to no step rewards at all.
    """
    gold = {name: final(readings) for name, readings in arms.items()}
    return {
        "over plain": gold["gated"] - gold["plain"],
        "over the outcome alone": gold["gated"] - gold["outcome"],
        "at a large weight, over plain": gold["gated, large"] - gold["plain, large"],
        "at a large weight, over a permuted gate": gold["gated, large"] - gold["permuted, large"],
        "a large weight is farmed": gold["outcome"] - gold["plain, large"],
    }
