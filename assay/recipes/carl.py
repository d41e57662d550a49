"""CaRL: one intuitive reward, progress times what infractions leave of it.

product: r_t = ΔC_t · Π_i (1 − (1−p_i)·event_i) − T·[hard event]; a hard event ends the episode. It
is compared with sum: w·ΔC − w·[event] for the same events, and, where they have a weight, + w·[in
lane] + w·comfort. Both are trained by PPO with a critic on batches of parallel episodes, and
`terminate` is the same switch for both: decisions after a hard event are neither paid nor learned
from.

The testbed names its terms (`--world.testbed road`: progress, centre, comfort, collision, offlane,
rush). Its gold is the driving score, completion times a factor for every infraction, which neither
reward is.

Traps: a product needs some progress to learn from; T must not make an early end attractive, and
without T a collision on the last cells costs nothing; a sum of terms for standing still in the lane
loses to a product of infractions because of its terms, so the claim's sum has the same ones; larger
batches at the same number of updates cost more episodes (see any reading); and of two designs the
one that does worse at a small batch has more left to gain, so gains are compared as the factor by
which they shrink the distance to a perfect drive.

`permute` reads the penalties at permuted states: a product whose factors are as large and as many
and say nothing of what is done. It is the claim's negative control.

Here: "scales with the batch" is read as gold after equally many updates at 64 and at 4096 parallel
episodes a batch. The process has 41 states, and the critic has a value for each of them and each
time. It learns standardised returns, so that neither design has the unit that suits the critic:
before, the sum's returns were twenty times the product's, and its values never came to them. The
best policy of this road scores about 0.95, and at 512 and 4096 episodes both designs come within
0.01 to 0.02 of it (product .938, sum .942 at 4096), so the road cannot tell them apart there.
Earlier leads of the product, .085 and .059, were over a sum of other terms (in lane, comfort), and
its own score of .80 was that of T = 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Missing, Paper, Rng, Samples, Step, Task
from assay.formulas.reduce import per_token
from assay.loops import Gae, Rollouts, clipped_surrogate, online, with_critic
from assay.models.policies.markov import acting
from assay.models.process import Process, states
from assay.stats.effects import Reading, final

paper = Paper(
    "CaRL: Learning Scalable Planning Policies with Simple Rewards",
    "Jaeger et al.",
    2025,
    "arXiv:2504.17838",
)
reduces = {}
TERMS = ("progress", "centre", "comfort", "collision", "offlane", "rush")
PENALTIES = ("collision", "offlane", "rush")


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


def elsewhere(x: Samples, process: Process, rng: Rng) -> Samples:
    """The same episodes with their states permuted; terminal states stay where they are."""
    inner = (~process.terminal).nonzero()[:, 0]
    to = torch.arange(len(process.states))
    to[inner] = inner[rng.permutation(len(inner))]
    return replace(x, extra={**x.extra, "state": to[states(x)]})


def recipe(
    task: Task,
    *,
    design: str = "product",
    offlane: float = 0.5,
    rush: float = 0.8,
    crash: float = 0.0,
    terminate: bool = True,
    permute: bool = False,
    w_progress: float = 5.0,
    w_centre: float = 0.5,
    w_comfort: float = 0.5,
    w_collision: float = 4.0,
    w_offlane: float = 0.0,
    w_rush: float = 0.0,
    epsilon_low: float = 0.2,
    epsilon_high: float = 0.2,
    value_clip: float = 0.2,
    gamma: float = 1.0,
    lam: float = 0.95,
    loop: Loop = Loop(epochs=2),
) -> Iterator[Step]:
    """Train on the designed reward and yield the policy after each step.

    Args:
        design: product or sum.
        offlane: Factor that driving off the lane leaves of the progress.
        rush: Factor that rushing leaves of the progress.
        crash: T, subtracted at a hard event.
        terminate: Neither pay nor learn from what comes after a hard event.
        permute: Read the penalties at permuted states: a control.
        w_progress: The sum's weight of progress.
        w_centre: The sum's weight of keeping the lane's centre.
        w_comfort: The sum's weight of comfort.
        w_collision: The sum's weight of a collision.
        w_offlane: The sum's weight of driving off the lane.
        w_rush: The sum's weight of rushing.
        epsilon_low: The ratio is clipped below at 1 − epsilon_low.
        epsilon_high: The ratio is clipped above at 1 + epsilon_high.
        value_clip: How far a value may move from its old one before its loss is clipped, in
            standard deviations of the returns.
        gamma: Discount a decision.
        lam: Decay λ of GAE.
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

    learn = with_critic(
        task, loop, by="carl", beta=0.0, gae=Gae(gamma=gamma, lam=lam, value_clip=value_clip)
    )

    def events(x: Samples) -> dict[str, Tensor]:
        each = dict(zip(TERMS, terms.steps(x), strict=True))
        if permute:
            y = elsewhere(x, acting(task.reference).process, task.rng("permute"))
            there = dict(zip(TERMS, terms.steps(y), strict=True))
            each |= {name: there[name] for name in PENALTIES}
        return each

    def steps(x: Samples) -> Tensor:
        each = events(x)
        if design == "product":
            paid = product(each["progress"], each, {"offlane": offlane, "rush": rush})
        else:
            paid = (
                w_progress * each["progress"]
                + w_centre * each["centre"]
                + w_comfort * each["comfort"]
                - w_collision * each["collision"]
                - w_offlane * each["offlane"]
                - w_rush * each["rush"]
            )
        paid = paid - crash * each["collision"]
        return torch.where(until(each["collision"]), paid, 0.0) if terminate else paid

    def score(x: Samples) -> Tensor:
        return steps(x).sum(-1)

    def prepare(batch: Rollouts) -> Rollouts:
        """End episodes at their hard events, then learn as PPO does."""
        x = batch.samples
        if terminate:
            on = x.mask & until(events(x)["collision"])
            batch.samples = replace(x, mask=on, logp=torch.where(on, x.logp, 0.0))
        return learn(batch)

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        return clipped_surrogate(logp, rows, advantage, low=epsilon_low, high=epsilon_high)

    yield from online(
        task, loop, score=score, reward=steps, prepare=prepare, loss=loss, reduce=per_token
    )


SIZES = {64: 4, 512: 32, 4096: 256}  # episodes a batch of 16 prompts: completions a prompt
DESIGNS: dict[str, dict[str, Any]] = {
    "product": {},
    "sum": {
        "design": "sum",
        "w_progress": 10.0,
        "w_collision": 1.0,
        "w_centre": 0.0,
        "w_comfort": 0.0,
    },
    "permuted": {"permute": True},
}
RATES = {"learning_rate": (0.1, 0.3, 0.6)}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "product": {**RATES, "crash": (0.03, 0.1, 0.3), "rush": (0.4, 0.6)},
    "sum": {**RATES, "w_offlane": (0.5, 1.0, 2.0), "w_rush": (1.0, 2.0)},
}
STEPS = 60


def shortfall(readings: list[Reading]) -> float:
    """log of the distance from a perfect drive (gold 1) at the end of the run."""
    return math.log(max(1 - final(readings), 1e-9))


@Claim(
    "At the largest batch the product ends at a better driving score than a tuned weighted sum of "
    "the same events, and from the smallest batch to the largest it comes nearer to a perfect "
    "drive.",
    arms={
        f"{name} {size}": (
            "carl",
            {**arguments, "batch_size": 16, "num_generations": n, "max_steps": STEPS},
        )
        for name, arguments in DESIGNS.items()
        for size, n in SIZES.items()
        if name != "permuted" or size == 512
    },
    worlds=("table",),
    on={"table": {"testbed": "road"}},
    least={"end": 0.02, "gain": 0.1, "control": 0.02},
    seeds="500..519",
    tuned={
        "product 512": GRIDS["product"],
        "sum 512": GRIDS["sum"],
        **{f"product {n}": "product 512" for n in (64, 4096)},
        **{f"sum {n}": "sum 512" for n in (64, 4096)},
        "permuted 512": "product 512",
    },
    control=("control",),
    broken="penalties are read at permuted states",
    differs={
        "generated": "the batch is what is varied; arms of one batch size sample the same",
        "scored": "the batch is what is varied; arms of one batch size score the same",
        "seconds": "larger batches take longer",
    },
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Gold at the largest batch less the sum's; the logarithm of the factor by which the largest
    batch shrinks the distance to a perfect drive, less the sum's; gold less the control's at 512.
    δ is two points of driving score, and a tenth of the way to a perfect drive.
    """

    def shrinks(name: str) -> float:
        return shortfall(arms[f"{name} 64"]) - shortfall(arms[f"{name} 4096"])

    return {
        "end": final(arms["product 4096"]) - final(arms["sum 4096"]),
        "gain": shrinks("product") - shrinks("sum"),
        "control": final(arms["product 512"]) - final(arms["permuted 512"]),
    }
