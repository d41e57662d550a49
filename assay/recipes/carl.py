"""CaRL: one intuitive reward, progress times what infractions leave of it.

product: r_t = ΔC_t · Π_i (1 − (1−p_i)·event_i) − T·[hard event]; after a hard event nothing is
paid. It is compared with sum: w·ΔC + w·[in lane] + w·comfort − w·[collision], each with a weight
that has to be tuned. Both are trained by the same policy gradient on returns to go, and
`terminate` is the same switch for both.

The testbed names its terms (`--world.testbed road`: progress, centre, comfort, collision, offlane,
rush). Its gold is the driving score, completion times a factor for every infraction, which neither
reward is.

Traps: a product needs some progress to learn from; T must not make an early end attractive; larger
batches at the same number of updates cost more episodes (see any reading).

Here: "scales with the batch" is read as gold after equally many updates at 64 and at 4096 episodes
a batch. The sum's default weights pay about as much for standing still as for driving; "tuned"
weighs progress four times as much. On a table with exact returns to go there is no value network
and no minibatch, so what makes PPO fail on sums at large batches may not be here at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Missing, Paper, Samples, Step, Task
from assay.formulas.advantage import returns_to_go
from assay.formulas.occupancy import step_centred
from assay.loops import online
from assay.stats.effects import Reading, final

paper = Paper(
    "CaRL: Learning Scalable Planning Policies with Simple Rewards",
    "Jaeger et al.",
    2025,
    "arXiv:2504.17838",
)
reduces = {}
TERMS = ("progress", "centre", "comfort", "collision", "offlane", "rush")


def product(progress: Tensor, events: dict[str, Tensor], factors: dict[str, float]) -> Tensor:
    """ΔC_t · Π_i p_i^event_i at each step."""
    left = torch.ones_like(progress)
    for name, factor in factors.items():
        left = left * torch.where(
            events[name] > 0, torch.full_like(left, factor), torch.ones_like(left)
        )
    return progress * left


def until(event: Tensor) -> Tensor:
    """True up to and including the first step at which the event happens `[…,T]`."""
    return (event > 0).cumsum(-1) - (event > 0).long() == 0


def recipe(
    task: Task,
    *,
    design: str = "product",
    offlane: float = 0.5,
    rush: float = 0.8,
    crash: float = 0.0,
    terminate: bool = True,
    w_progress: float = 5.0,
    w_centre: float = 0.5,
    w_comfort: float = 0.5,
    w_collision: float = 4.0,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the designed reward and yield the policy after each step.

    Args:
        design: product or sum.
        offlane: Factor that driving off the lane leaves of the progress.
        rush: Factor that rushing leaves of the progress.
        crash: T, subtracted at a hard event.
        terminate: Pay nothing after a hard event.
        w_progress: The sum's weight of progress.
        w_centre: The sum's weight of keeping the lane's centre.
        w_comfort: The sum's weight of comfort.
        w_collision: The sum's weight of a collision.
    """
    if design not in ("product", "sum"):
        raise InputError(f"--design is '{design}'; it is product or sum")
    names = task.rewards.names
    absent = [n for n in TERMS if n not in names]
    if absent:
        raise Missing(
            f"this world's rewards have no term '{absent[0]}' (they are {', '.join(names)}); use "
            "--world.testbed road"
        )
    terms = task.rewards.only([names.index(n) for n in TERMS])

    def steps(x: Samples) -> Tensor:
        each = dict(zip(TERMS, terms.steps(x), strict=True))
        if design == "product":
            paid = product(each["progress"], each, {"offlane": offlane, "rush": rush})
        else:
            paid = (
                w_progress * each["progress"]
                + w_centre * each["centre"]
                + w_comfort * each["comfort"]
                - w_collision * each["collision"]
            )
        paid = paid - crash * each["collision"]
        return torch.where(until(each["collision"]), paid, 0.0) if terminate else paid

    def score(x: Samples) -> Tensor:
        return steps(x).sum(-1)

    def advantage(paid: Tensor, x: Samples) -> Tensor:
        return step_centred(returns_to_go(paid, x.mask), x.mask)

    yield from online(task, loop, score=score, reward=steps, advantage=advantage)


SIZES = {64: 4, 512: 32, 4096: 256}  # episodes a batch of 16 prompts: completions a prompt
DESIGNS: dict[str, dict[str, Any]] = {
    "product": {},
    "sum": {"design": "sum"},
    "tuned": {"design": "sum", "w_progress": 20.0},
}


@Claim(
    "The product still gains from larger batches, and the weighted sum, tuned or not, does not "
    "gain as much.",
    arms={
        f"{name} {size}": ("carl", {**arguments, "batch_size": 16, "num_generations": n})
        for name, arguments in DESIGNS.items()
        for size, n in SIZES.items()
    },
    worlds=("table",),
    on={"table": {"testbed": "road"}},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Gold from the smallest to the largest batch, in two parts: the product's gain, and that gain
    above the better one of the sums'.
    """
    gain = {name: final(arms[f"{name} 4096"]) - final(arms[f"{name} 64"]) for name in DESIGNS}
    return {
        "gains": gain["product"],
        "gains more": gain["product"] - max(gain["sum"], gain["tuned"]),
    }
