"""A KL penalty in the loss: β·½(log π/π₀)² a decision (the k2 estimator).

Differs from leave_one_out in one term of the loss.

k2 is the estimator to differentiate: on completions sampled from π, its gradient is ∇KL(π‖π₀) at
the decision itself. There the gradient of k1 is zero in expectation, and that of k3 is the gradient
of the forward KL. k2 does not see what early decisions do to later ones.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Samples, Step, Task
from assay.formulas.divergence import k1, k2
from assay.formulas.surrogate import reinforce
from assay.loops import online, proxy_score, record_kl, with_reference_logp
from assay.stats.effects import Reading, final

paper = Paper(
    "On a few pitfalls in KL divergence gradient estimation for RL",
    "Tang and Munos",
    2025,
    "arXiv:2506.09477",
)
reduces = {"leave_one_out": ({"beta": 0.0}, {})}

ESTIMATORS = {"k1": k1, "k2": k2}


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    estimator: str = "k2",
    member: int = 0,
    aggregate: str = "",
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train with the penalty and yield the policy after each step.

    Args:
        beta: Weight of the penalty, in units of the proxy per nat.
        estimator: What stands in the loss: k2, whose gradient is the KL's, or k1, which estimates
            the KL and whose gradient is 0 in expectation: the pitfall, and the negative control.
        member: Index of the reward model that is the proxy.
        aggregate: Combine all reward models instead: mean, worst, uncertainty:0.5 or quantile:0.25.
    """
    if estimator not in ESTIMATORS:
        raise InputError(f"--estimator is '{estimator}'; it is one of {', '.join(ESTIMATORS)}")
    penalty = ESTIMATORS[estimator]

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        reference = with_reference_logp(task.reference, rows).logp
        record_kl(logp, reference, rows.mask)
        return reinforce(logp, advantage) + beta * penalty(logp, reference)  # new: the second term

    yield from online(
        task,
        loop,
        score=proxy_score(task, member, aggregate),
        loss=loss,
        against_reference=True,
    )


@Claim(
    "With a KL penalty in the loss, gold at the end of the run is above that of the same run "
    "without one, its learning rate tuned instead.",
    arms={
        "mine": ("kl_in_loss", {}),
        "single": ("leave_one_out", {}),
        "k1": ("kl_in_loss", {"estimator": "k1"}),
        "plain": ("leave_one_out", {}),
    },
    turns="plain",
    worlds=("table",),
    least={"over single": 0.25, "over k1": 0.0},
    seeds="100..119",
    tuned={
        "mine": {"beta": (0.1, 0.3, 0.6, 1.0)},
        "single": {"learning_rate": (0.05, 0.025, 0.0125, 0.00625)},
        "k1": "mine",
    },
    control=("over k1",),
    broken="k1 in the loss, which estimates the same KL and has no gradient of it",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Final gold with the penalty minus final gold without, and minus that of the broken
    penalty.
    """
    mine = final(arms["mine"])
    return {f"over {name}": mine - final(arms[name]) for name in ("single", "k1")}
