"""Supervised fine-tuning, with which the worlds of language make their policies."""

from __future__ import annotations

from assay.core import Loop, Rng, Samples, order
from assay.engine import descend, progress
from assay.formulas import reduce
from assay.models.policies.causal import Causal


def fine_tune(policy: Causal, demonstrations: Samples, loop: Loop, rng: Rng) -> None:
    """Train a policy on demonstrations, in place: the mean over tokens of −log π.

    Args:
        policy: The policy to train.
        demonstrations: One completion a row.
        loop: Steps, rows a step, learning rate and warm-up.
        rng: Address of the order of the rows.
    """
    optimiser = loop.optimiser(policy)
    for t in progress.over(range(loop.max_steps), "supervised start", "steps"):
        batch = demonstrations[order(len(demonstrations), loop.batch_size, t, rng)]
        descend.descend(
            optimiser, lambda rows, _: -policy.logp(rows), batch, reduce=reduce.per_token
        )
