"""WARM: average the weights of M reward models into one.

    θ = (1/M)·Σ_m θ_m

All members begin at one start, and each walks the pairs in its own order. A feature that a member
learns with chance p keeps weight p when scores are averaged. When weights are averaged it keeps p²
in a network whose layers multiply: what only some members learnt (a memorised wrong label, say)
fades. The cost is one reward model at run time; but no spread among members is left,
so nothing that weighs uncertainty can follow.

For a score that is linear in its weights, the average of weights *is* the average of scores. On
linear reward models WARM is therefore mean_ensemble of the same members; that law is tested, and
there is nothing to claim. `average=False` leaves the members apart, which is the mean ensemble that
WARM is to be compared with at equal fits.

Members differ by the order of the pairs and, with `bootstrap`, by their sample of them (the paper:
order, learning rate, dropout, and checkpoints of the supervised start). Members that began apart do
not lie in one valley. So all are given the first one's weights before the fit, and the loss on the
way between them is measured after it: the log warns where it rises by more than `valley` of itself.

Where this differs: the paper probes the heads linearly before averaging; here all begin at one
head.

Here: the reward models of grammar start from random weights. The claim is therefore judged on
reward models with a pretrained start, by the study `averaged_weights`, all three of one fit that is
long enough for wrong labels to be memorised. Its own claim gives each the length that suits it.
"""

from __future__ import annotations

import logging
from typing import Any

from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Reward
from assay.core.reward import Several
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards import weight_average
from assay.rewards.fit import Trainable, trained

paper = Paper(
    "WARM: On the Benefits of Weight Averaged Reward Models",
    "Ramé et al.",
    2024,
    "arXiv:2401.12187",
)
reduces = {}
log = logging.getLogger("assay")


def fit(
    model: Trainable,
    pairs: Pairs,
    *,
    average: bool = True,
    bootstrap: bool = False,
    valley: float = 0.1,
    centre: float = 0.01,
    loop: Loop = Loop(),
) -> Reward:
    """Fit the members to the pairs and return their average.

    Args:
        average: Return one reward model of the mean weights; otherwise the members as they are.
        bootstrap: Fit each member to its own sample of the pairs, drawn with replacement.
        valley: Warn if the loss rises between members by more than this share of it, above 0.
        centre: Weight of (r(chosen) + r(rejected))².
    """

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + centre * centring(
            chosen, rejected
        )

    if not valley > 0:
        raise InputError(
            f"--valley is {valley}; it is the share of the loss that counts as a hill, above 0"
        )
    weight_average.of_one_start(model)
    trained(model, pairs, loss=loss, bootstrap=bootstrap, loop=loop)
    names = tuple(f"judge{m}" for m in range(model.members))
    if not average:
        return model.freeze(names)
    rise = weight_average.hill(model, pairs[:256], loss=loss, points=3)
    if rise > valley * 0.693:  # a reward model that knows nothing has loss log 2
        log.warning(
            "the loss rises by %.3f nats on the way between members: their average may be worth "
            "less than they are",
            rise,
        )
    weight_average.average(model)
    whole = model.freeze(names)
    assert isinstance(whole, Several)
    return whole.only([0])


# a language and models that are small enough for twenty seeds, and memorise
_LANGUAGE = {"width": 48, "layers": 2, "sft_steps": 100, "demos": 1000, "held_out": 24}
_PAIRS = {"max_tokens": 16, "pairs": 1000, "noise": 0.2, "members": 1, "reward_steps": 1}
_SMALL = {**_LANGUAGE, **_PAIRS}
LONG = {"pretrain_steps": 100, "rate": 2e-3, "layers": 1, "steps": 240}


@Claim(
    "Fitted until members have memorised wrong labels, the average of their weights follows fewer "
    "of them than a member and than the mean of their scores does, and its best of n completions "
    "has more gold than either's.",
    arms={"long": ("averaged_weights", LONG)},
    worlds=("grammar",),
    on={"grammar": _SMALL},
    # more than half of the wrong labels; one in fifty of them; a tenth of a deviation of gold
    least={
        "memorised": 0.5,
        "forgets over member": 0.02,
        "forgets over mean": 0.0,
        "best over member": 0.1,
        "best over mean": 0.0,
    },
    seeds="100..119",
    control=("forgets over mean", "best over mean"),
    broken="the mean of the same members' scores: as many members, and no weights averaged",
    premises=("memorised",),
    differs={
        "updates": "a member is fitted once, an average as often as it has members",
        "scored": "the mean scores every completion with each of its members",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """The share of its wrong labels that a member orders as they are labeled; how much less the
    average of weights does than a member and than the mean of scores; and gold of the best of n, in
    deviations of gold, less theirs.
    """
    long = {x["reward"]: x for x in arms["long"] if x["kind"] == "judged"}
    mine, rivals = long["weights"], {"member": long["member"], "mean": long["scores"]}
    return {
        "memorised": long["member"]["memorised"],
        **{f"forgets over {k}": x["memorised"] - mine["memorised"] for k, x in rivals.items()},
        **{f"best over {k}": mine["best"] - x["best"] for k, x in rivals.items()},
    }
