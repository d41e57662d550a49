"""One step's updates: minibatches, their statistics, and what a step says of its completions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Optimiser, Policy, Rng, Samples
from assay.engine.descend import descend
from assay.engine.passes import Split
from assay.formulas.reduce import per_completion


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
        The updates' mean "loss" and "grad_norm", and the number "skipped" because not finite.
    """
    return mean_stats(
        [
            descend(optimiser, loss, samples, reduce=reduce, rows=rows, split=split)
            for rows in loop.minibatches(len(samples), rng)
        ]
    )


def mean_stats(stats: list[dict[str, float]]) -> dict[str, float]:
    """Average the statistics of one step's updates; "skipped" is summed."""
    out = {k: sum(s[k] for s in stats) / len(stats) for k in stats[0]} if stats else {}
    if stats:
        out["skipped"] = sum(s["skipped"] for s in stats)
    return out


def completion_stats(x: Samples) -> dict[str, float]:
    """Mean length of the completions and the share that was cut off before it ended."""
    here = x.present
    count = max(1, int(here.sum()))
    return {
        "completions/mean_length": float(x.lengths.sum()) / count,
        "completions/clipped_ratio": float((here & ~x.ended).sum()) / count,
    }


def with_reference_logp(reference: Policy, rows: Samples) -> Samples:
    """Return the same completions with the reference's log-probabilities, without gradient."""
    with torch.no_grad():
        return replace(rows, logp=reference.logp(rows))
