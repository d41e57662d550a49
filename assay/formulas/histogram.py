"""A number as a classification: bins, target histograms, cross-entropy, and a histogram's mean.

    V = Σ softmax(l)_i · c_i,    L = −Σ p_i · log softmax(l)_i

The derivative of L by a logit is softmax(l)_i − p_i: never above 1, however far the target is from
the value, where that of a squared error grows with the distance.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def centres(edges: Float[Tensor, "E"]) -> Float[Tensor, "M"]:
    """The middles of M bins: the numbers that they stand for.

    Args:
        edges: M + 1 ascending edges `[E]`.

    Returns:
        `[M]`.
    """
    return (edges[1:] + edges[:-1]) / 2


def gaussian_histogram(
    target: Float[Tensor, "*S"], edges: Float[Tensor, "E"], *, spread: float = 0.75
) -> Float[Tensor, "*S M"]:
    """HL-Gauss: the mass of N(y, σ²) in each bin, renormalised to the support.

        p_i = (Φ((e_{i+1} − y)/σ) − Φ((e_i − y)/σ)) / (Φ((e_M − y)/σ) − Φ((e_0 − y)/σ))

    Its mean is y but for the width of a bin, and for what is cut off: within 3σ of an end of the
    support it is drawn inwards, by up to √(2/π)·σ at the very end. A target beyond an end is taken
    to be at the end, where the mass that is divided by would otherwise vanish.

    Args:
        target: y `[*S]`.
        edges: M + 1 ascending edges of equal distance ς `[E]`.
        spread: σ/ς, above 0: about 6·spread bins have mass. Towards 0 the bin of y has all.

    Returns:
        p `[*S, M]`, which sums to 1. No gradient flows into the target.

    Raises:
        ValueError: spread is not above 0, or there are fewer than two edges.

    Source: Imani & White, "Improving Regression Performance with Distributional Losses",
        arXiv:1806.04613, 2018; Farebrother et al., "Stop Regressing: Training Value Functions via
        Classification for Scalable Deep RL", arXiv:2403.03950, 2024.
    """
    _check(edges)
    if not spread > 0:
        raise ValueError(f"spread is {spread}; a deviation in widths of a bin is above 0")
    sigma = spread * (edges[-1] - edges[0]) / (len(edges) - 1)
    y = target.detach().clamp(edges[0], edges[-1])[..., None]
    below: Tensor = torch.special.erf((edges - y) / (sigma * math.sqrt(2)))
    return below.diff(dim=-1) / (below[..., -1:] - below[..., :1])


def two_hot(target: Float[Tensor, "*S"], edges: Float[Tensor, "E"]) -> Float[Tensor, "*S M"]:
    """Two-hot: y divided between the two nearest middles of bins, so that the mean is y.

    Args:
        target: y `[*S]`; beyond the first or the last middle it is taken to be there.
        edges: M + 1 ascending edges of equal distance `[E]`.

    Returns:
        p `[*S, M]`, which sums to 1. No gradient flows into the target.

    Raises:
        ValueError: There are fewer than two edges.

    Source: Farebrother et al., arXiv:2403.03950, 2024.
    """
    _check(edges)
    width = (edges[-1] - edges[0]) / (len(edges) - 1)
    away = (target.detach()[..., None] - centres(edges)) / width
    last = len(edges) - 2
    place = (away[..., 0]).clamp(0, last)[..., None]
    at = torch.arange(last + 1, device=edges.device, dtype=edges.dtype)
    return (1 - (place - at).abs()).clamp(min=0)


def histogram_mean(logits: Float[Tensor, "*S M"], edges: Float[Tensor, "E"]) -> Float[Tensor, "*S"]:
    """The value: Σ softmax(l)_i · c_i, differentiable.

    Args:
        logits: l `[*S, M]`.
        edges: M + 1 ascending edges `[E]`.

    Returns:
        `[*S]`, in units of the edges.

    Source: Farebrother et al., arXiv:2403.03950, 2024.
    """
    return (logits.softmax(-1) * centres(edges)).sum(-1)


def cross_entropy(
    logits: Float[Tensor, "*S M"], histogram: Float[Tensor, "*S M"]
) -> Float[Tensor, "*S"]:
    """Cross-entropy of a histogram: −Σ p_i · log softmax(l)_i, least where softmax(l) = p.

    Args:
        logits: l `[*S, M]`.
        histogram: p `[*S, M]`, which sums to 1.

    Returns:
        `[*S]` in nats, differentiable in the logits alone.
    """
    return -(histogram.detach() * logits.log_softmax(-1)).sum(-1)


def _check(edges: Tensor) -> None:
    if len(edges) < 2:
        raise ValueError(f"there are {len(edges)} edges; a bin has two")
