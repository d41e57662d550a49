"""Which completions and which tokens of a batch to learn from."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def widest(values: Float[Tensor, "n"], *, keep: int) -> Bool[Tensor, "n"]:
    """Choose the `keep` values of greatest variance.

    The best choice is made of the lowest i and the highest keep − i values for some i, so that
    keep + 1 choices are tried in place of n over keep. Of equal variances the first i is taken.

    Args:
        values: Such as advantages `[n]`.
        keep: From 0 to n.

    Returns:
        Which are chosen `[n]`.

    Raises:
        ValueError: keep is out of range, or a value is not finite.

    Source: Xu et al., "Not All Rollouts are Useful" (max-variance down-sampling), arXiv:2504.13818,
        2025; across the prompts of a batch in D3S, 2025.
    """
    n = len(values)
    if not 0 <= keep <= n:
        raise ValueError(f"keep is {keep}; of {n} values from 0 to {n} can be kept")
    if not bool(torch.isfinite(values).all()):
        raise ValueError("a value is not finite, so that no variance is the greatest")
    ranked, order = values.double().sort(stable=True)
    chosen = torch.zeros(n, dtype=torch.bool, device=values.device)
    if keep == 0:
        return chosen
    centred = ranked - ranked.mean()
    ends = torch.zeros(1, dtype=torch.float64, device=values.device)
    first = torch.cat([ends, centred.cumsum(0)])
    second = torch.cat([ends, centred.square().cumsum(0)])
    i = torch.arange(keep + 1, device=values.device)

    def of(sums: Tensor) -> Tensor:
        return sums[i] + sums[n] - sums[n - keep + i]

    variance = of(second) / keep - (of(first) / keep).square()
    low = int(variance.argmax())
    chosen[order[:low]] = True
    chosen[order[n - keep + low :]] = True
    return chosen


def largest(
    score: Float[Tensor, "*S"], among: Bool[Tensor, "*S"], *, share: float
) -> Bool[Tensor, "*S"]:
    """Choose a share of some entries by the largest score; of equal ones the first.

    Args:
        score: `[*S]`.
        among: Which entries there are to choose from.
        share: From 0 to 1; at least one is kept unless it is 0 or there are none.

    Returns:
        Which are chosen `[*S]`.

    Raises:
        ValueError: The share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it lies in [0, 1]")
    there = int(among.sum())
    keep = min(there, max(1, round(share * there))) if share > 0 else 0
    order = torch.where(among, score, -torch.inf).flatten().argsort(descending=True, stable=True)
    chosen = torch.zeros(among.numel(), dtype=torch.bool, device=among.device)
    chosen[order[:keep]] = True
    return chosen.view(among.shape) & among


def schedule(*, start: float, end: float, progress: float) -> float:
    """Relax a share linearly: (1 − p)·start + p·end.

    Args:
        start: At progress 0.
        end: At progress 1.
        progress: p, held to [0, 1].
    """
    p = min(max(progress, 0.0), 1.0)
    return (1 - p) * start + p * end
