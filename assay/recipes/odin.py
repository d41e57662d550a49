"""ODIN: two heads on one backbone, one for quality and one for length; only quality is kept.

    L = −log σ((r^Q + r^L)(chosen) − (r^Q + r^L)(rejected))
        + λ_L·(|ρ(r^Q, length)| − ρ(r^L, length)) + λ_O·|cos(W_Q, W_L)|

ρ is Pearson's correlation over a batch's completions. The length head *maximises* its correlation:
with the other sign both heads flee from length, and the preference for it has nowhere to go but
back into quality. The cosine is the paper's ‖W_Q·W_Lᵀ‖/(‖W_Q‖‖W_L‖) for heads of one output. The
second head may take another `attribute` than length.

Neighbours: distance_covariance has one head and a measure that sees more than straight lines.
bradley_terry is what is left without the second head.

Traps: Pearson's correlation needs a large batch (a batch of one length has correlation 0 and no
gradient). It removes linear dependence only, on the pairs' own completions, and a real link of
quality with length goes too.

Here the quality head keeps 6.6 [5.7, 7.6] more gold at equal KL than the plain reward model, .8
[.3, 1.3] more than with other completions' attribute, and .8 [.4, 1.2] less than the labels' own
model, a linear credit (40 seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Claim, InputError, Loop, Pairs, Paper, Reward, Rng
from assay.formulas.dependence import pearson
from assay.formulas.pairwise import bradley_terry, centring
from assay.rewards.attributes import elsewhere, scaled
from assay.rewards.fit import Trainable, fitted
from assay.rewards.two_heads import TwoHeads
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "ODIN: Disentangled Reward Mitigates Hacking in RLHF", "Chen et al.", 2024, "arXiv:2402.07319"
)
reduces = {}


def fit(
    model: Trainable,
    pairs: Pairs,
    *,
    lam_length: float = 1.0,
    lam_orthogonal: float = 1.0,
    attribute: str = "length",
    shuffled: bool = False,
    centre: float = 0.01,
    loop: Loop = Loop(),
) -> Reward:
    """Fit both heads to the pairs and return the quality head as a reward.

    Args:
        lam_length: Weight λ_L of the two correlations.
        lam_orthogonal: Weight λ_O of the heads' cosine.
        attribute: What the second head takes, such as length or tokens:12-; see
            rewards/attributes.py.
        shuffled: Take the correlations with attributes of other completions: the negative control.
        centre: Weight of (r(chosen) + r(rejected))².
    """
    if "," in attribute:
        raise InputError(
            f"--attribute is '{attribute}', and the second head takes one alone; "
            "distance_covariance takes several"
        )
    heads = TwoHeads(model, Rng(loop.seed)("odin"))

    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        fits = bradley_terry(chosen, rejected, p=p, margin=margin) + centre * centring(
            chosen, rejected
        )
        return fits + lam_orthogonal * heads.alignment()[:, None]

    other = Rng(loop.seed)("other") if shuffled else None
    apart = Disentangled(lam_length, attribute, pairs, other)
    return fitted(heads, pairs, loss=loss, penalty=apart, loop=loop)


class Disentangled:
    """λ·(|ρ(quality, attribute)| − ρ(second head, attribute)) over a batch, for each member."""

    def __init__(self, lam: float, attribute: str, pairs: Pairs, other: Rng | None = None):
        self.lam, self.attribute, self.pairs, self.other, self.t = lam, attribute, pairs, other, 0
        scaled(pairs, attribute, pairs)  # a wrong attribute is an error now, not in the first batch

    def view(self, model: Any, each: Sequence[Pairs], t: int) -> Tensor:
        """Both heads' scores `[M,b,2,2]`."""
        self.t = t
        return model.both(list(each))

    def __call__(self, view: Tensor, each: Sequence[Pairs]) -> Float[Tensor, "M"]:
        said = torch.stack(
            [scaled(x, self.attribute, self.pairs)[..., 0].flatten() for x in each]
        ).to(view)
        if self.other is not None:
            said = elsewhere(said[..., None], self.other("step", self.t))[..., 0]
        quality, other = (pearson(r.flatten(1), said) for r in view.unbind(-1))
        return self.lam * (quality.abs() - other)


_BIASED = {"testbed": "bag", "mode": "idiosyncratic", "bias": 1.0, "members": 1}
REACH = 5.0  # √KL up to which constants are chosen


def by(readings: list[Reading]) -> float:
    """Mean gold up to √KL = REACH, or as far as the run came."""
    return gold_over(readings, REACH)


LOOP = {"max_steps": 40, "learning_rate": 0.1}
ATTRIBUTE = {"fit.attribute": "tokens:12-"}


@Claim(
    "Where raters like an attribute that gold does not, in proportion to its count, the quality "
    "head of two keeps more gold at equal KL than the plain reward model, and hardly less than the "
    "labels' own model, which credits the attribute as raters do.",
    arms={
        "mine": ("leave_one_out", {"fit": "odin", "fit.attribute": "tokens:12-", **LOOP}),
        "shuffled": ("leave_one_out", {"fit": "odin", "fit.shuffled": True, **ATTRIBUTE, **LOOP}),
        "labels' own": (
            "leave_one_out",
            {"fit": "distance_covariance", "fit.measure": "margin", **ATTRIBUTE, **LOOP},
        ),
        "single": ("leave_one_out", {"fit": "bradley_terry", **LOOP}),
    },
    turns="single",
    worlds=("table",),
    on={"table": _BIASED},
    tuned={
        "mine": {"fit.lam_length": (1.0, 3.0, 10.0)},
        "shuffled": "mine",
        "labels' own": {"fit.lam": (0.5, 1.0, 1.5)},
        "single": {"fit.centre": (0.3, 1.0, 3.0)},
    },
    by=by,
    # a tenth of what the baseline falls by on seeds 0 to 4; beside the labels' own, half of one
    # deviation of gold
    least={"over single": 3.0, "beside the labels' own": -0.5, "over shuffled": 0.0},
    seeds="500..539",
    control=("over shuffled",),
    broken="the attribute is that of other completions",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean gold differences over the range of √KL that both runs reached: to the plain reward
    model; to the one with the labels' own credit, which nothing that the labels say can beat, so
    that δ is how far below it one may be; and to the same fit with others' attribute.
    """
    return {
        "over single": matched_gain(arms["mine"], arms["single"]),
        "beside the labels' own": matched_gain(arms["mine"], arms["labels' own"]),
        "over shuffled": matched_gain(arms["mine"], arms["shuffled"]),
    }
