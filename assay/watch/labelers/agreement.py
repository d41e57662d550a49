"""How far labels can be trusted: agreement, Cohen's kappa, and the error rate they imply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.stats.agreement import cohen_kappa, flip_rate, raw_agreement


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Compare labels that were given twice to the same question.

    Args:
        pairs: Two labels of one question, both about the same completion (1, 0 or 0.5).

    Returns:
        pairs: how many. agree: the share that agrees. kappa: Cohen's kappa. flip, flip_least: the
        error rate of one label and its lower limit (`flip_rate`), from pairs without a tie; they
        suppose that both labelers err alike and independently. None where nothing can be computed.
    """
    decided = [(a, b) for a, b in pairs if 0.5 not in (a, b)]
    flip, least = (
        flip_rate(disagree=sum(a != b for a, b in decided), twice=len(decided))
        if decided
        else (None, None)
    )
    return {
        "pairs": len(pairs),
        "agree": raw_agreement(pairs),
        "kappa": cohen_kappa(pairs),
        "flip": flip,
        "flip_least": least,
    }
