"""How far best-of-n moves a policy: exact KL, the usual bound, and an estimator.

Best-of-n samples n completions from π₀ and keeps the one with the highest score. With F(y) = π₀(r ≤
r(y)) and F⁻ the same with <, its law is

    π_n(y) = (F(y)ⁿ − F⁻(y)ⁿ)·π₀(y)/π₀(r = r(y))          KL = Σ π_n log(π_n/π₀) ≤ log n − (n−1)/n.

The right-hand side is often printed as the KL itself. It is a bound, reached only where no
completion has probability of its own: once n·π₀(y) is about 1 for the completions that win, the
policy has stopped moving and the bound goes on. The paper's estimator is a mean over winners of a
function of their probability under π₀ alone (`formulas.divergence.best_of_n_estimate`). The win
rate against one sample of π₀, with ties as half, is at most n/(n+1).

Ties change this. A verifier with two verdicts makes two classes, the exact KL stays below −log
π₀(right), and both the bound and the estimator overshoot, because both assume that every other
completion is better or worse. The formula above is the one with ties; the usual one, F(y)ⁿ − F⁻(y)ⁿ
alone, is the case of one completion a class.

This study runs on a table whose completions are one decision, where all of it is a sum over
completions. It takes every n and each of two rewards: the reward model's own score, and the same
score cut into `levels` verdicts of equal probability. It gives the exact KL, the bound, the
estimator's expectation, the estimator as a user has it (from `draws` winners), the win rate and its
bound. KLs are means over prompts of KLs, never KLs of mean policies.

Here: the world `table` with testbed `bandit` has 100 completions a prompt. A bag of twelve tokens
has 60¹² and cannot be enumerated, and grammar neither; there `formulas.curves` and this estimator
are what one has. Not shown: how well a sequence's probability is known where a model gives it only
roughly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Paper, World
from assay.formulas.divergence import (
    best_of_n_bound,
    best_of_n_estimate,
    best_of_n_exact,
    best_of_n_pmf,
)
from assay.models.policies.table import TablePolicy

paper = Paper(
    "Theoretical guarantees on the best-of-n alignment policy",
    "Beirami et al.",
    2024,
    "arXiv:2401.01879",
)
reduces = {}


def study(
    world: World, *, most: int = 1024, member: int = 0, levels: int = 2, draws: int = 16
) -> Iterator[dict[str, Any]]:
    """Yield one line for each reward and each n.

    Args:
        most: The largest n; n doubles from 1.
        member: Index of the reward model.
        levels: Verdicts of the tied reward, at least 2.
        draws: Winners a prompt from which a user would estimate.
    """
    policy = world.task.reference
    if not isinstance(policy, TablePolicy) or policy.length != 1:
        raise InputError(
            "this study sums over all completions; use --world table --world.testbed bandit, whose "
            "completions are one decision"
        )
    if levels < 2:
        raise InputError(f"--levels is {levels}; a verifier has at least 2 verdicts")
    prompts = world.task.prompts
    logp = policy.log_probs(prompts).double().log_softmax(-1)
    p = logp.exp()
    B, V = p.shape
    every = policy.encode(prompts.text(), [list(policy.words.tokens)] * B)
    score = world.task.rewards.only([member])(every)[0].double()
    rewards = (("score", "judge", score), ("verdict", "verdict", verdicts(p, score, levels)))
    for name, address, reward in rewards:
        for n in [1 << i for i in range(most.bit_length()) if 1 << i <= most]:
            won = best_of_n_pmf(p, reward, n)
            drawn = torch.searchsorted(
                won.cumsum(-1),
                world.task.rng(f"winners {address}", n).uniform(
                    torch.arange(B)[:, None], torch.arange(draws), dtype=torch.float64
                ),
            ).clamp(max=V - 1)
            estimate = best_of_n_estimate(logp, n)
            yield {
                "reward": name,
                "n": n,
                "exact": mean(best_of_n_exact(p, reward, n)),
                "bound": float(best_of_n_bound(n)),
                "estimate": mean((won * estimate).sum(-1)),
                "shuffled": mean((won * estimate.roll(1, -1)).sum(-1)),
                "from_draws": mean(estimate.gather(-1, drawn).mean(-1)),
                "win_rate": mean(win_rate(p, reward, won)),
                "win_bound": n / (n + 1),
                "discreteness": n * mean((won * p).sum(-1)),
                "tied": mean(tied(p, reward)),
            }
    for arm in ("estimate", "bound", "shuffled"):  # all are exact sums over the same scores
        yield {"kind": "spent", "arm": arm, "scored": B * V}


def mean(values: Tensor) -> float:
    """Average over prompts."""
    return float(values.mean())


def verdicts(p: Tensor, score: Tensor, levels: int) -> Tensor:
    """Cut the score at the quantiles of π₀: `levels` values of about equal probability."""
    order = score.argsort(-1)
    below = torch.zeros_like(p).scatter(-1, order, p.gather(-1, order).cumsum(-1))
    return ((below - p / 2) * levels).floor().clamp(0, levels - 1)


def win_rate(p: Tensor, reward: Tensor, won: Tensor) -> Tensor:
    """P(a completion of `won` beats one of p) + ½ P(they tie), for each prompt."""
    gap = reward[:, :, None] - reward[:, None, :]
    return (
        ((gap > 0).double() + 0.5 * (gap == 0).double()).mul(p[:, None, :]).sum(-1).mul(won).sum(-1)
    )


def tied(p: Tensor, reward: Tensor) -> Tensor:
    """Probability under π₀ of a completion that shares its reward with another."""
    shared = (reward[:, :, None] == reward[:, None, :]).sum(-1) > 1
    return (p * shared).sum(-1)


@Claim(
    "Best-of-n's exact KL never exceeds log n − (n−1)/n, and where completions have probability "
    "of their own the estimator is nearer to it than that bound, and than with the probability of "
    "a completion that did not win.",
    arms={"study": ("best_of_n_theory", {})},
    worlds=("table",),
    on={"table": {"testbed": "bandit"}},
    least={"within the bounds": -1e-9, "nearer than the bound": 0.0, "nearer than shuffled": 0.0},
    seeds="100..119",
    control=("nearer than shuffled",),
    broken="the estimator with another completion's probability in the winner's place",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """In nats: the least room below the bounds of KL and win rate; and the mean over n of how much
    nearer to the exact KL the estimate is than the bound, and than the shuffled estimate.

    Nearness only where n·π₀(winner) ≥ 1 and next to nothing ties.
    """
    lines = [x for x in arms["study"] if x.get("kind") != "spent"]
    near = 0.01  # two float scores may be equal by chance
    discrete = [
        x for x in lines if x["reward"] == "score" and x["discreteness"] >= 1 and x["tied"] < near
    ]
    if not discrete:
        raise ValueError("no n here has n·π₀(winner) ≥ 1 without ties: raise most")

    def nearer(than: str) -> float:
        gaps = [abs(x[than] - x["exact"]) - abs(x["estimate"] - x["exact"]) for x in discrete]
        return float(sum(gaps) / len(gaps))

    room = min(min(x["bound"] - x["exact"], x["win_bound"] - x["win_rate"]) for x in lines)
    return {
        "within the bounds": float(room),
        "nearer than the bound": nearer("bound"),
        "nearer than shuffled": nearer("shuffled"),
    }
