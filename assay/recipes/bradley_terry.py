"""Fit reward models to preferences by Bradley–Terry, M members at once.

    L = −log σ(r(chosen) − r(rejected) − margin) + centre·(r(chosen) + r(rejected))²

The margin is that of Llama 2 (Touvron et al., 2023, arXiv:2307.09288): the labeler's word on how
much better the chosen completion is. The centring term is that of Eisenstein et al. (2023,
arXiv:2312.09244). It pins the constant of each prompt, which differences leave free; without it,
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
    """Fit the model to the pairs and return it as a reward.

    Args:
        smoothing: Share of labels taken as wrong, from 0 to below 0.5.
        centre: Weight of (r(chosen) + r(rejected))².
        bootstrap: Fit each member to its own sample of the pairs, drawn with replacement.
    """
    return bradley_terry_fitted(
        model, pairs, smoothing=smoothing, centre=centre, bootstrap=bootstrap, loop=loop
    )


@Claim(
    "A reward model fitted on noisy preferences is worth following at first: best-of-n by it rises "
    "above the reference in gold.",
    arms={
        "bon": ("best_of_n", {"most": 64}),
        "coins": ("best_of_n", {"most": 64, "world.noise": 0.5}),
    },
    worlds=("table",),
    least={"rises": 0.3, "over coins": 0.0},
    seeds="100..119",
    control=("over coins",),
    broken="the same pairs with labels that are coins",
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Peak gold minus the reference's, both read at fresh addresses, and how much more that is
    than with labels that are coins. Gold's unit is its deviation under the reference.
    """
    gain = {k: rise(arms[k]) for k in ("bon", "coins")}
    return {"rises": gain["bon"], "over coins": gain["bon"] - gain["coins"]}
