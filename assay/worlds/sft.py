"""Supervised fine-tuning, with which the worlds of language make their policies."""

from __future__ import annotations

from tqdm import tqdm

from assay.core import Loop, Rng, Samples, order
from assay.engine import descend
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
    for t in tqdm(
        range(loop.max_steps), desc="supervised start", disable=None, delay=2, leave=False
    ):
        batch = demonstrations[order(len(demonstrations), loop.batch_size, t, rng)]
        descend.descend(
            optimiser, lambda rows, _: -policy.logp(rows), batch, reduce=reduce.per_token
        )
