"""Router-R1: a policy asks other models in turns, hears their answers, and answers; it learns whom.

    R = −1 for a wrong form; 0 for a wrong answer; else (1 − α)·score + α·c
    c = 1 − clip((√cost − q₅)/(q₉₅ − q₅), 0, 1), quantiles of the last 1,000 completions' √cost

It is PPO with this reward. What other models answer is read by the policy and is none of its
decisions: it has no place in the loss, in the advantages or in the KL (`Samples.given`). The
rewards are read by name: `--score`, `--formed` (1 for the right form) and `--cost`.

Aggregation: a mean over all tokens of the batch. Ratios are clipped on both sides. Advantages are
GAE's, whitened, with γ = λ = 1. The KL stands in the reward, −β·(log π − log π₀) at each own token,
with β = 0.001. The window is kept in the run's memory. The released configuration also has a bonus
of 0.001 on the entropy, which is left out; its critic has ten times the policy's rate, here the
same; it passes once over a batch, here twice; and it clips values in their own units, here in
deviations of the returns.

Differs from ppo in the reward alone: at `alpha` 0 and without a punishment it is ppo on the score.
`--dealt` gives the c of a batch to its completions at random, the negative control.

Traps. Cost is paid for right answers alone, so that wrong and expensive is free. The window is not
stationary and depends on the order of completions. As α grows, asking no one and guessing becomes
the best: c is then 1, for a right guess. The paper's default is α = 0.

Here (world routing): solvers are frozen distributions over ten digits, with a known skill in each
of three kinds of question; the policy can neither compute nor learn an answer, and has no thoughts
to write. What one question to the best solver of each kind can give is known exactly
(`one/kind`).

In world hub, with --turns, the policy asks the checkpoints of --others in its text and is answered
there; give --score the name of the reward that scores the answer. Solvers answer with their
likeliest tokens, so that to ask again says nothing new. What a prompt says of names and form is in
your file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.formulas.routing import cheapness, routing_reward
from assay.loops import Gae, clipped_surrogate, fill_missing, online, with_critic
from assay.stats.effects import Reading, final

paper = Paper(
    "Router-R1: Teaching LLMs Multi-Round Routing and Aggregation via Reinforcement Learning",
    "Zhang et al.",
    2025,
    "arXiv:2506.09033",
)
reduces = {
    "ppo": (
        {"alpha": 0.0, "punishment": 0.0, "beta": 0.05, "lam": 0.95, "value_clip": 0.2},
        {},
    )
}


def recipe(
    task: Task,
    *,
    alpha: float = 0.0,
    punishment: float = -1.0,
    window: int = 1000,
    low: float = 0.05,
    high: float = 0.95,
    dealt: bool = False,
    score: str = "score",
    formed: str = "format",
    cost: str = "cost",
    beta: float = 0.001,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.5,
    gamma: float = 1.0,
    lam: float = 1.0,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train a router by PPO and yield the policy after each step.

    Args:
        alpha: Weight of the cost's reward in that of a right answer.
        punishment: Reward of a wrong form.
        window: Completions whose costs a cost is compared with.
        low: Quantile of √cost in the window that counts as cheapest.
        high: Quantile of √cost in the window that counts as dearest.
        dealt: Deal the cost's rewards to the batch at random: the control.
        score: Name of the reward that scores the answer, from 0 to 1.
        formed: Name of the reward that is 1 for the right form and 0 otherwise.
        cost: Name of the reward that is the cost, at least 0.
        beta: Weight of the KL penalty in the reward, in units of the reward per nat.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
    """
    if not 0 <= alpha <= 1 or window < 1 or not 0 <= low <= high <= 1:
        raise InputError(
            f"--alpha is {alpha}, --window {window}, --low {low} and --high {high}; give a weight "
            "from 0 to 1, a window of at least 1, and 0 ≤ low ≤ high ≤ 1"
        )
    parts = fill_missing(task.rewards.named(score, formed, cost))
    answer = fill_missing(task.rewards.named(score))
    carry: Any = task.carry.keep(costs=torch.zeros(0, dtype=torch.float64))

    def reward(x: Samples) -> Tensor:
        value, form, price = parts(x)
        cheap = torch.full_like(value, 0.5)
        if alpha:
            given = price[x.present].double()
            rated, carry.costs = cheapness(given, carry.costs, size=window, low=low, high=high)
            if dealt:
                at = task.rng("dealt", carry.next).permutation(len(rated))
                rated = rated[at.to(rated.device)]
            cheap = cheap.masked_scatter(x.present, rated.to(cheap))
        return routing_reward(value, form > 0.5, cheap, alpha=alpha, punishment=punishment)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    gae = Gae(gamma=gamma, lam=lam, value_clip=value_clip)
    yield from online(
        task,
        loop,
        score=lambda x: answer(x)[0],
        reward=reward,
        prepare=with_critic(task, loop, by="router_r1", beta=beta, gae=gae),
        loss=loss,
        reduce=per_token,
    )


def asked(readings: list[Reading]) -> float:
    """Mean price of what was asked for a question, at the end of a run."""
    return float([r for r in readings if r["tag"] != "best"][-1]["golds"][1])


_STEPS = {"max_steps": 60}
_CHEAP = {**_STEPS, "alpha": 0.6}
_RATES = {"learning_rate": (5e-4, 1e-3, 2e-3, 4e-3)}


@Claim(
    "A router that asks in several turns answers more rightly than one that asks once, and a "
    "weight on the cost makes it ask for less.",
    arms={
        "mine": ("router_r1", _STEPS),
        "once": ("router_r1", {**_STEPS, "world.turns": 1}),
        "cheap": ("router_r1", _CHEAP),
        "dealt": ("router_r1", {**_CHEAP, "dealt": True}),
    },
    worlds=("routing",),
    # two answers in a hundred; the price of the cheapest solver; to beat the control is enough
    least={"over one turn": 0.02, "saves": 1.0, "saves over dealt costs": 0.0},
    seeds="100..109",
    tuned={"mine": _RATES, "once": _RATES, "cheap": "mine", "dealt": "mine"},
    control=("saves over dealt costs",),
    broken="the costs' rewards of a batch are dealt to its completions at random",
    differs={"seconds": "several turns are more passes than one"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final share of right answers minus that of a router that may ask once; and by how much less
    is spent a question with α = 0.6 than with 0, and than with the same rewards dealt at random.
    """
    return {
        "over one turn": final(arms["mine"]) - final(arms["once"]),
        "saves": asked(arms["mine"]) - asked(arms["cheap"]),
        "saves over dealt costs": asked(arms["dealt"]) - asked(arms["cheap"]),
    }
