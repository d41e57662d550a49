"""One step's updates: minibatches and their statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from assay.core import Loop, Optimiser, Rng
from assay.engine.descend import descend
from assay.engine.passes import Split
from assay.formulas.reduce import per_completion
from assay.loops.mismatch import corrected
from assay.loops.statistics import mean_stats


def update(
    optimiser: Optimiser,
    loss: Callable[[Any, Any], Tensor],
    samples: Any,
    loop: Loop,
    rng: Rng,
    *,
    reduce: Callable[[Tensor], Tensor] = per_completion,
    split: Split = "prompts",
) -> dict[str, float]:
    """Descend on one batch: `loop.epochs` passes over it in random minibatches.

    Where an engine generated the completions, the loss of each decision is weighed, see
    `loops.mismatch.corrected`.

    Args:
        optimiser: Of the parameters that `loss` depends on.
        loss: `loss(rows, index)`: unreduced loss of some rows of the batch, and their index in it.
        samples: The batch, B rows (Samples or Pairs).
        loop: Gives `epochs` and `mini_batch_size`.
        rng: Orders the rows; usually `task.rng("minibatch", step)`.
        reduce: Weights of the loss, see `formulas/reduce.py`.
        split: What a micro-batch may part, see `engine.descend`: "completions" where the loss of a
            completion depends on no other completion, else "prompts".

    Returns:
        The updates' mean "loss", "grad_norm" (before clipping) and "learning_rate", and the number
        "skipped" because not finite.
    """
    loss = corrected(loss, samples)
    return mean_stats(
        [
            descend(optimiser, loss, samples, reduce=reduce, rows=rows, split=split)
            for rows in loop.minibatches(len(samples), rng)
        ]
    )
