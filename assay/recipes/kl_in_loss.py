"""A KL price in the loss: β·½(log π/π₀)² a decision. Differs from leave_one_out in one term.

k2 is the estimator to differentiate: with answers drawn from π its gradient is ∇KL(π‖π₀) at a
decision's own place, where k1's is zero and k3's is the gradient of the forward KL. What early
decisions do to later ones it does not see.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from assay.core import Claim, Loop, Paper, Samples, Step, Task
from assay.formulas.divergence import k2
from assay.formulas.surrogate import reinforce
from assay.loops.online import judge, online, seen
from assay.stats.effects import Reading, final

paper = Paper(
    "On a few pitfalls in KL divergence gradient estimation for RL",
    "Tang and Munos",
    2025,
    "arXiv:2506.09477",
)
reduces = {"leave_one_out": ({"beta": 0.0}, {})}


def recipe(
    task: Task, *, beta: float = 0.1, member: int = 0, aggregate: str = "", loop: Loop = Loop()
) -> Iterator[Step]:
    """beta: price of a nat, in units of the proxy; member: which judge is the proxy;
    aggregate: or all of them, see `loops.judge`."""

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return reinforce(logp, advantage) + beta * k2(
            logp, seen(task.reference, rows).logp
        )  # new: the second term

    yield from online(task, loop, score=judge(task, member, aggregate), loss=loss)


@Claim(
    "With a KL price in the loss, gold at the end of the run is above that of the same run without "
    "one.",
    arms={"mine": ("kl_in_loss", {"beta": 0.6}), "single": ("leave_one_out", {})},
    turns="single",
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Final gold with the price minus final gold without, at the price that ends highest on
    `table`'s seeds 0 to 4.
    """
    return final(arms["mine"]) - final(arms["single"])
