"""Two rewards that conflict: PPO on a weighted sum, and what a sweep of the weight trades.

    R = α·r₁ + (1 − α)·r₂ − β·KL

The paper rewrites an inappropriate argument: r₁ says how appropriate the text is, r₂ how much of
the argument it keeps. Neither alone is wanted: the text that keeps everything is the argument
itself, and the most appropriate one says nothing. No rewrites by people are needed. The weight α is
swept, and people choose on the front.

It is PPO (`ppo`: a critic, clipped ratios, KL in the reward, a mean over tokens) on another reward,
and at α = 1 it is PPO on the first. The rewards are used as they come, so α is in their units:
where one of them varies ten times as much within a prompt it decides, whatever α says. With
`shuffled` r₂ is dealt to the prompt's completions at random, the control.

Here: a right answer and a short one, which conflict because a right answer takes a line of work.
An exact verifier stands for the paper's classifier, so nothing is said of how a classifier is
fooled, which is what a weight on similarity holds back there. Between weights .9 and .1, ten seeds
see .14 [.02, .26] of right answers and .09 [.01, .18] of shortness change hands: a trade, but not
shown to be as large as δ. Shortness over the shuffled reward is .09 [.01, .17].
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.aggregate import weighted_sum
from assay.formulas.reduce import per_token
from assay.loops import Gae, clipped_surrogate, member_scores, online, with_critic
from assay.stats.effects import Reading

paper = Paper(
    "LLM-based Rewriting of Inappropriate Argumentation using Reinforcement Learning from Machine "
    "Feedback",
    "Ziegenbein et al.",
    2024,
    "arXiv:2406.03363",
)
reduces = {"ppo": ({"weight": 1.0}, {})}


def recipe(
    task: Task,
    *,
    weight: float = 0.5,
    shuffled: bool = False,
    beta: float = 0.05,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train on the weighted sum of the first two rewards and yield the policy after each step.

    Args:
        weight: Weight α of the first reward; the second has 1 − α.
        shuffled: Deal the second reward to the prompt's completions at random: the control.
        beta: Weight of the KL penalty in the reward, in units of the weighted sum per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"--weight is {weight}; it is a share of the first reward, from 0 to 1")
    both = member_scores(task, 2)
    weights = torch.tensor([weight, 1 - weight])

    def score(x: Samples) -> Tensor:
        return weighted_sum(both(x), weights)

    def dealt(x: Samples) -> Tensor:
        first, second = both(x)
        u = task.rng("dealt").uniform(x.prompts.row[:, None], torch.arange(first.shape[1]))
        order = torch.where(x.present, u.to(first), 2.0).argsort(1)
        return weighted_sum(torch.stack([first, second.gather(1, order)]), weights)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)
    yield from online(
        task,
        loop,
        score=score,
        reward=dealt if shuffled else None,
        prepare=with_critic(task, loop, by="rewriting", beta=beta, gae=gae),
        loss=loss,
        reduce=per_token,
    )


def ends(readings: list[Reading]) -> tuple[float, float]:
    """Share of right answers and mean shortness at the end of a run."""
    last = [r for r in readings if r["tag"] != "best"][-1]
    return float(last["golds"][0]), float(last["golds"][2])


_WORLD = {"task": "modular", "least": 2, "most": 2, "width": 32, "layers": 1, "pass_rate": 0.5}
_WORLD |= {"sft_steps": 160, "sft_lr": 0.01, "pairs": 16, "prompts": 48, "held_out": 24}
_WORLD |= {"taught": 1000, "rewards": "outcome,short"}
_RUN = {"max_steps": 24, "learning_rate": 0.001}


@Claim(
    "A sweep of the weight trades one reward for the other: more weight on right answers ends at "
    "more of them, more on shortness at shorter ones; and it is the second reward, not a weaker "
    "first one, that shortens.",
    arms={
        "right": ("rewriting", {**_RUN, "weight": 0.9}),
        "middle": ("rewriting", {**_RUN, "weight": 0.5}),
        "short": ("rewriting", {**_RUN, "weight": 0.1}),
        "shuffled": ("rewriting", {**_RUN, "weight": 0.1, "shuffled": True}),
    },
    worlds=("sums",),
    on={"sums": _WORLD},
    least={"more right": 0.1, "shorter": 0.05, "over shuffled": 0.0},
    seeds="100..109",
    control=("over shuffled",),
    broken="the second reward is dealt to the prompt's completions at random",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Share of right answers at the first end of the sweep minus that at the other, shortness the
    other way round, and shortness over the shuffled control's.
    """
    right, short = ends(arms["right"]), ends(arms["short"])
    return {
        "more right": right[0] - short[0],
        "shorter": short[1] - right[1],
        "over shuffled": short[1] - ends(arms["shuffled"])[1],
    }
