"""A KL penalty in the reward: r − β·Σ_t log(π/π₀), subtracted before the baseline.

Differs from leave_one_out in one line of the reward.

k1, detached and summed over the completion, is the estimator whose score-function gradient is
∇KL(π‖π₀).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.divergence import k1
from assay.loops import leave_one_out_advantage, online, proxy_score, record_kl
from assay.stats.effects import Reading, final

paper = Paper(
    "Fine-Tuning Language Models from Human Preferences", "Ziegler et al.", 2019, "arXiv:1909.08593"
)
reduces = {"leave_one_out": ({"beta": 0.0}, {})}


def recipe(
    task: Task, *, beta: float = 0.1, member: int = 0, aggregate: str = "", loop: Loop = Loop()
) -> Iterator[Step]:
    """Train with the penalty and yield the policy after each step.

    Args:
        beta: Weight of the penalty, in units of the proxy per nat.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reference = task.reference.logp(x)
        record_kl(x.logp, reference, x.mask)
        penalty = beta * k1(x.logp, reference).sum(-1)  # new in this paper
        return leave_one_out_advantage(reward - penalty.to(reward.dtype), x)

    yield from online(task, loop, score=proxy_score(task, member, aggregate), advantage=advantage)


@Claim(
    "With a KL penalty in the reward, gold at the end of the run is above that of the same run "
    "without one.",
    arms={"mine": ("kl_in_reward", {"beta": 0.6}), "single": ("leave_one_out", {})},
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final gold with the penalty minus final gold without.

    The weight is the one that ends highest on `table`'s seeds 0 to 4.
    """
    return final(arms["mine"]) - final(arms["single"])
