"""Keep a reward model from following length: add λ·dCov²(its scores, an attribute) to its loss.

    L = mean of −log σ(chosen − rejected) + λ·V

V is the distance covariance of the batch's 2b scores with the attribute of their completions.
Distance covariance is 0 in the population exactly if the two are independent, so it sees dependence
that no correlation shows; the paper uses it for a regression's predictions and protected
attributes.

The first attribute is length; `attribute="tokens:12-"` counts words. Several, with commas, are kept
out together: `several="concatenated"` makes one vector of them (the paper's CCdCov: their
combinations count too), `several="joint"` takes the joint distance covariance of scores and
attributes (JdCov: what the attributes have among themselves is a constant of the fit), and
`several="sum"` takes one after another, the "gerrymandering" that the paper warns of.

V is the unbiased statistic. Averaged over batches it is the population's value, where the biased
one pays a constant share of the scores' spread even to a reward model that is independent. It can
be negative, and is not clipped. (The joint one is the biased mean: no unbiased one is given here.
`measure="normalised"` is the distance correlation.) Attributes have mean 0 and deviation 1 over the
pairs. Scores keep their units, so that λ is in the labels' log-odds per unit and shrinks the reward
model a little as well (a correlation would not, and can be had by inflating what is uncorrelated).

Neighbours, by `measure`: "pearson" is the same fit with the squared correlation, which is what
ODIN's length head stands on; "margin" is the tuned linear length penalty, −log σ(chosen − rejected
+ c·(their attributes' difference)), in which c takes the credit for the attribute and the reward
model has the rest. Where labels like an attribute in proportion, that is the labels' own model, and
a distance covariance can at best tie: odin's claim is on that case. This one is on a taste that no
correlation shows (`--world.taste extremes`). bradley_terry is λ = 0.

Traps: an attribute that good completions really have is erased with the bad habit. Independence
holds on the pairs' completions, not on those of a policy that has moved: the claim is therefore
gold at equal KL. The squared *sample* correlation is not blind to a taste without correlation: its
mean is E[r²z²]/n, which a score that is large where z is far from its mean raises.

Here, where raters like a completion the further its count of rare tokens lies from the mean, either
way, best-of-n keeps .18 [.08, .28] more gold at equal KL than without a penalty, its centring tuned
as carefully, .37 [.28, .46] more than with a linear credit and .22 [.08, .36] more than with other
completions' attribute; but .09 [.02, .17] less than with the squared correlation (40 seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Reward, Rng
from assay.formulas.dependence import (
    distance_correlation,
    distance_covariance,
    joint_distance_covariance,
    pearson,
)
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.attributes import elsewhere, scaled
from assay.rewards.fit import Trainable, fitted
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "Machine Learning with Multitype Protected Attributes: Intersectional Fairness through Regularisation",  # noqa: E501  # a title stands letter for letter, on one line
    "Lee et al.",
    2025,
    "arXiv:2509.08163",
)
reduces = {}
MEASURES, SEVERAL = (
    ("distance", "normalised", "pearson", "margin"),
    ("concatenated", "joint", "sum"),
)


def fit(
    model: Trainable,
    pairs: Pairs,
    *,
    lam: float = 30.0,
    attribute: str = "length",
    measure: str = "distance",
    several: str = "concatenated",
    shuffled: bool = False,
    centre: float = 0.01,
    loop: Loop = Loop(),
) -> Reward:
    """Fit the model to the pairs and return it as a reward.

    Args:
        lam: Weight λ of the dependence; for measure "margin" the log-odds a deviation gets credit
            for.
        attribute: What to keep out, such as length or tokens:12-; see rewards/attributes.py.
        measure: distance, normalised, pearson or margin.
        several: concatenated, joint or sum: how several attributes are taken together.
        shuffled: Measure the dependence on attributes of other completions: the negative control.
        centre: Weight of (r(chosen) + r(rejected))².
    """
    for name, value, choices in (("measure", measure, MEASURES), ("several", several, SEVERAL)):
        if value not in choices:
            raise InputError(f"--{name} is '{value}'; it is one of {', '.join(choices)}")
    if not lam >= 0:
        raise InputError(f"--lam is {lam}; the weight of a dependence is at least 0")

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin) + centre * centring(
            chosen, rejected
        )

    if measure == "margin":
        said = scaled(pairs, attribute, pairs).sum(-1)
        less = Pairs(
            **{
                **vars(pairs),
                "margin": pairs.margin - lam * (said[:, 0] - said[:, 1]).to(pairs.margin),
            }
        )
        return fitted(model, less, loss=loss, loop=loop)
    return fitted(
        model,
        pairs,
        loss=loss,
        penalty=Dependence(
            lam, attribute, measure, several, pairs, Rng(loop.seed)("other") if shuffled else None
        ),
        loop=loop,
    )


class Dependence:
    """λ times the dependence of a batch's scores on its completions' attributes, a member."""

    def __init__(
        self,
        lam: float,
        attribute: str,
        measure: str,
        several: str,
        pairs: Pairs,
        other: Rng | None = None,
    ):
        self.lam, self.attribute, self.pairs = lam, attribute, pairs
        self.measure, self.several, self.other, self.t = measure, several, other, 0
        scaled(pairs, attribute, pairs)  # a wrong attribute is an error now, not in the first batch

    def view(self, model: Any, each: Sequence[Pairs], t: int) -> Tensor:
        """The scores `[M,b,2]`."""
        self.t = t
        return model(list(each))

    def __call__(self, view: Tensor, each: Sequence[Pairs]) -> Float[Tensor, "M"]:
        z = torch.stack([scaled(x, self.attribute, self.pairs).flatten(0, 1) for x in each]).to(
            view
        )
        if self.other is not None:
            z = elsewhere(z, self.other("step", self.t))
        return self.lam * dependence(view.flatten(1), z, measure=self.measure, several=self.several)


def dependence(
    score: Float[Tensor, "M n"], z: Float[Tensor, "M n A"], *, measure: str, several: str
) -> Float[Tensor, "M"]:
    """Measure how much scores depend on attributes `[M]`."""
    columns = [z[..., a : a + 1] for a in range(z.shape[-1])]
    if measure == "pearson":
        return torch.stack([pearson(score, c[..., 0]).square() for c in columns]).sum(0)
    r = score[..., None]
    if several == "joint" and len(columns) > 1:
        return joint_distance_covariance([r, *columns])
    of = distance_correlation if measure == "normalised" else distance_covariance
    return torch.stack(
        [of(r, c, unbiased=True) for c in (columns if several == "sum" else [z])]
    ).sum(0)


# raters like completions with unusually few or many rare tokens; gold falls where there are many
_EXTREMES = {
    "testbed": "bag",
    "mode": "idiosyncratic",
    "taste": "extremes",
    "bias": 2.0,
    "hidden": 16,
    "vocabulary": 24,
    "pairs": 1000,
    "members": 1,
}
REACH = 3.0  # √KL above that of the largest n


def by(readings: list[Reading]) -> float:
    """Mean gold up to √KL = REACH, or as far as the run came."""
    return gold_over(readings, REACH)


MINE = {"fit": "distance_covariance", "fit.attribute": "tokens:12-"}


@Claim(
    "Where raters have a taste that goes with an attribute and that no correlation with it shows, "
    "a reward model kept independent of the attribute in distance covariance keeps more gold in "
    "best-of-n than one without a penalty, than one with a penalty on the correlation, and than "
    "one that credits the attribute linearly.",
    arms={
        "mine": ("best_of_n", {"fit": "distance_covariance", "fit.attribute": "tokens:12-"}),
        "shuffled": ("best_of_n", {**MINE, "fit.shuffled": True}),
        "correlation": ("best_of_n", {**MINE, "fit.measure": "pearson"}),
        "credit": ("best_of_n", {**MINE, "fit.measure": "margin"}),
        "single": ("best_of_n", {"fit": "bradley_terry"}),
        "plain": ("best_of_n", {"fit": "bradley_terry"}),
    },
    turns="plain",
    worlds=("table",),
    on={"table": _EXTREMES},
    tuned={
        "mine": {"fit.lam": (10.0, 30.0, 100.0)},
        "shuffled": "mine",
        "correlation": {"fit.lam": (1.0, 3.0, 10.0)},
        "credit": {"fit.lam": (0.25, 0.5, 1.0)},
        "single": {"fit.centre": (0.3, 1.0, 3.0)},
        "plain": "",  # as given: what turns
    },
    by=by,
    # a tenth of what the baseline falls by on seeds 0 to 4
    least={
        "over single": 0.035,
        "over correlation": 0.035,
        "over credit": 0.035,
        "over shuffled": 0.0,
    },
    seeds="500..539",
    control=("over shuffled",),
    broken="the attribute is that of other completions",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over √KL from n = 1 to 512: to the reward model without a penalty, its
    centring tuned as carefully, to a penalty on the squared correlation, to a linear credit in the
    margin, and to the same fit with the attribute of other completions.
    """
    return {
        f"over {other}": matched_gain(arms["mine"], arms[other])
        for other in ("single", "correlation", "credit", "shuffled")
    }
