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
from assay.loops import leave_one_out_advantage, online, proxy_score, record_kl, reference_logp
from assay.stats.effects import Reading, final

paper = Paper(
    "Fine-Tuning Language Models from Human Preferences", "Ziegler et al.", 2019, "arXiv:1909.08593"
)
reduces = {"leave_one_out": ({"beta": 0.0}, {})}


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    shuffled: bool = False,
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train with the penalty and yield the policy after each step.

    Args:
        beta: Weight of the penalty, in units of the proxy per nat.
        shuffled: Charge each of a prompt's completions with the next one's log-ratio: the negative
            control, as dear and blind to what a completion costs.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """

    def advantage(reward: Tensor, x: Samples) -> Tensor:
        reference = reference_logp(task.reference, x)
        record_kl(x.logp, reference, x.mask)
        penalty = beta * k1(x.logp, reference).sum(-1)  # new in this paper
        if shuffled:
            penalty = penalty.roll(1, -1)
        return leave_one_out_advantage(reward - penalty.to(reward.dtype), x)

    yield from online(task, loop, score=proxy_score(task, member, aggregate), advantage=advantage)


@Claim(
    "With a KL penalty in the reward, gold at the end of the run is above that of the same run "
    "without one, its learning rate tuned instead.",
    arms={
        "mine": ("kl_in_reward", {}),
        "single": ("leave_one_out", {}),
        "shuffled": ("kl_in_reward", {"shuffled": True}),
        "plain": ("leave_one_out", {}),
    },
    turns="plain",
    worlds=("table",),
    least={"over single": 0.25, "over shuffled": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"beta": (0.1, 0.3, 0.6, 1.0)},
        "single": {"learning_rate": (0.05, 0.025, 0.0125, 0.00625)},
        "shuffled": "mine",
    },
    control=("over shuffled",),
    broken="the same charges, each at the prompt's next completion",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold with the penalty minus final gold without, and minus that of the broken
    penalty.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("single", "shuffled")}
