"""DAPO: GRPO with clip-higher, dynamic sampling, a token-level loss and an overlong penalty.

    A_i = (R_i − mean(R)) / std(R),  R_i = r_i − penalty(|y_i|)
    L   = −Σ_i Σ_t min(ρ·A, clip(ρ, 1−ε_low, 1+ε_high)·A) / Σ_i |y_i|

Prompts whose rewards are all equal teach nothing: they are dropped, and further prompts are sampled
until the batch is full or `limit` batches were sampled. The penalty grows from 0 to 1 over the last
`cache` tokens before `max_length`.
"""

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.advantage import group_standardised
from assay.formulas.reduce import per_token
from assay.formulas.surrogate import clipped
from assay.loops import Rollouts, online, proxy_score

paper = Paper(
    "DAPO: An Open-Source LLM Reinforcement Learning System at Scale",
    "Yu et al.",
    2025,
    "arXiv:2503.14476",
)
reduces = {"grpo": ({"epsilon_high": 0.2, "limit": 1, "max_length": 0}, {"beta": 0.0})}


def recipe(
    task: Task,
    *,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.28,
    limit: int = 10,
    max_length: int = 0,
    cache: int = 4,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train by DAPO and yield the policy after each step.

    Args:
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        limit: Most batches that are sampled for one step.
        max_length: Tokens at which the overlong penalty is 1; 0 for no penalty.
        cache: Tokens before `max_length` over which the penalty grows.
    """

    def mixed(batch: Rollouts) -> Rollouts:
        return batch[batch.reward.amax(1) > batch.reward.amin(1)]

    def prepare(batch: Rollouts) -> Rollouts:
        kept = mixed(batch)
        while len(kept) < len(batch) and kept.batches < limit:
            kept = kept + mixed(batch.again())
        return kept[: len(batch)]

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        over = ((x.lengths - max_length + cache) / cache).clamp(0, 1) if max_length else 0.0
        return group_standardised(reward - over, x.present, eps=1e-4, ddof=1)[..., None]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped(logp, rows.logp, advantage, low=epsilon_low, high=epsilon_high)

    score = proxy_score(task)
    yield from online(
        task, loop, score=score, prepare=prepare, advantage=advantage, loss=loss, reduce=per_token
    )


@Claim(
    "Dynamic sampling ends at more right answers than GRPO at equal steps.",
    arms={"mine": ("dapo", {}), "grpo": ("grpo", {})},
    worlds=("sums",),
)
def claim(arms: dict[str, list[dict[str, float]]]) -> float:
    """Final gold minus GRPO's."""
    return float(arms["mine"][-1]["gold"] - arms["grpo"][-1]["gold"])
