"""Which completions have no score: what training fills in for them is not a measurement.

`fill_missing` gives every completion a number, because advantages need one. It notes here for which
completions no reward model gave any, so that statistics and readings leave them out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from assay.core import Samples

_ASKED: list[tuple[Tensor, list[Tensor]]] = []  # whose scores are being taken, and what was noted


def note_missing(x: Samples, missing: Tensor) -> None:
    """Note which of some completions no reward model applies to.

    Args:
        x: The completions.
        missing: `[B,N]`, True where every score is filled in.
    """
    for action, noted in _ASKED:
        if action is x.action:
            noted.append(missing)


def scores_and_missing(
    score: Callable[[Samples], Tensor], x: Samples
) -> tuple[Tensor, Tensor | None]:
    """Score completions, and learn which of the scores are filled in.

    Args:
        score: A proxy, or what a recipe makes of one.
        x: The completions.

    Returns:
        (scores, missing): what `score` returns, `[B,N]` or `[B,N,T]`, and a mask `[B,N]` of the
        completions that no reward model applies to; None where all of them always apply.
    """
    noted: list[Tensor] = []
    _ASKED.append((x.action, noted))
    try:
        scores = score(x)
    finally:
        _ASKED.pop()
    return scores, torch.stack(noted).all(0) if noted else None


def without_missing(scores: Tensor, missing: Tensor | None) -> Tensor:
    """Return scores with NaN for those that are filled in.

    Args:
        scores: `[B,N]` or `[B,N,T]`.
        missing: See `scores_and_missing`.

    Example:
        >>> without_missing(torch.tensor([[1.0, 0.0]]), torch.tensor([[False, True]]))
        tensor([[1., nan]])
    """
    if missing is None:
        return scores
    where = missing.to(scores.device)
    return scores.masked_fill(where[..., None] if scores.dim() == 3 else where, torch.nan)


def scored_only(x: Samples, missing: Tensor | None) -> Samples:
    """Make completions without a score absent, as losses of ranked lists need it.

    An advantage of 0 teaches nothing, so the mean may stand for a score there. In a list the mean
    is a label: it says that the completion is better than some and worse than others.

    Args:
        x: The completions.
        missing: See `scores_and_missing`.
    """
    if missing is None:
        return x
    here = ~missing.to(x.mask.device)[..., None]
    return replace(x, mask=x.mask & here, given=x.given & here)


def short_lists(x: Samples) -> dict[str, float]:
    """Return "lists/short": the share of lists with fewer than two completions to compare."""
    return {"lists/short": float((x.present.sum(-1) < 2).float().mean())} if len(x) else {}


def missing_stats(drawn: Iterable[tuple[Samples, Tensor | None]]) -> dict[str, float]:
    """Return how many of a step's completions have no score.

    Args:
        drawn: Batches of completions, each with its mask of `scores_and_missing`.

    Returns:
        "frac_reward_missing", the share of completions that no reward model applies to; nothing
        where all reward models always apply.
    """
    both = [(int(m.sum()), int(x.present.sum())) for x, m in drawn if m is not None]
    count = sum(n for _, n in both)
    return {"frac_reward_missing": sum(k for k, _ in both) / count} if count else {}
