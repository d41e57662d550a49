"""A reward model from preferences: −log σ(score of the chosen − score of the rejected − margin), M
members at once.

The margin is that of Llama 2 (Touvron et al., 2023, arXiv:2307.09288): what the labeler said of how
much better the chosen answer is. The centring term is that of Eisenstein et al. (2023,
arXiv:2312.09244): it pins the constant a prompt that the differences leave free, without which
members cannot be compared.
"""

from __future__ import annotations

from assay.core import Claim, Loop, Pairs, Paper, Reward
from assay.rewards.fit import Trainable, bradley_terry_fitted
from assay.stats.effects import Reading, rise

paper = Paper(
    "Learning to summarize from human feedback", "Stiennon et al.", 2020, "arXiv:2009.01325"
)
reduces = {}


def fit(
    model: Trainable,
    pairs: Pairs,
    *,
    smoothing: float = 0.0,
    centre: float = 0.01,
    bootstrap: bool = False,
    loop: Loop = Loop(),
) -> Reward:
    """smoothing: share of labels taken as wrong; centre: weight of (chosen + rejected)²; bootstrap:
    each member fits its own draw of the pairs with replacement.
    """
    return bradley_terry_fitted(
        model, pairs, smoothing=smoothing, centre=centre, bootstrap=bootstrap, loop=loop
    )


@Claim(
    "A judge fitted on noisy preferences is worth following at first: best-of-n by it rises above "
    "the reference in gold.",
    arms={"bon": ("best_of_n", {"most": 64})},
)
def claim(arms: dict[str, list[Reading]]) -> float:
    """Peak gold minus the reference's, both read at fresh addresses."""
    return rise(arms["bon"])
