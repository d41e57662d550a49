"""Ask, of a question and its rewrites, the one whose predicted risk is least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.formulas.curves import best_of_n


def chosen(
    logit: Float[Tensor, "B N"],
    true: Float[Tensor, "B N"],
    away: Float[Tensor, "B N"],
    own: Float[Tensor, "B"],
    as_asked: Float[Tensor, "B"],
    *,
    penalty: float,
    most: int,
) -> Iterator[dict[str, Any]]:
    """Risks of what is asked: of a question and n = 1, 2, 4 … rewrites, the least predicted one.

    They are exact over all subsets of n rewrites of the pool.

    Args:
        logit: Predicted for each rewrite of the pool.
        true: Chance that the answer to a rewrite does not answer the question.
        away: Share of a rewrite's words that are not the question's.
        own: Predicted for the question.
        as_asked: Chance that the answer to the question is wrong.
        penalty: Logits that a share of foreign words costs.
        most: The largest n.
    """
    ns = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    rank, first = -(logit + penalty * away), -own[:, None]
    stays = rank <= first  # a rewrite that is predicted no safer leaves the question as it is
    values = [(logit.sigmoid(), own.sigmoid()), (true, as_asked), (away, torch.zeros_like(own))]
    here, safest = torch.ones_like(stays), torch.minimum(true, as_asked[:, None])
    curves = [
        best_of_n(torch.maximum(rank, first), torch.where(stays, b[:, None], a), ns, here).mean(0)
        for a, b in values
    ]
    curves.append(best_of_n(-safest, safest, ns, here).mean(0))
    for n, p, t, d, least in zip(ns, *curves, strict=True):
        yield {
            "penalty": penalty,
            "n": n,
            "predicted_risk": float(p),
            "true_risk": float(t),
            "as_asked": float(as_asked.mean()),
            "least_possible": float(least),
            "foreign_words": float(d),
        }
