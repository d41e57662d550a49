"""Dependence between two quantities: distance covariance, Pearson's correlation, Kendall's τ.

n observations are on the last axis but one and their components on the last: `x [*S, n, D]`, `z
[*S, n, E]`. Leading axes broadcast, so that M reward models are measured at once. All gradients are
finite: where two observations coincide, or a quantity is constant, the derivative is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def distances(x: Float[Tensor, "*S n D"]) -> Float[Tensor, "*S n n"]:
    """Euclidean distances |x_i − x_j|; the derivative at 0 is 0.

    Args:
        x: `[*S, n, D]`.

    Returns:
        `[*S, n, n]`.
    """
    square = (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)


def centred(d: Float[Tensor, "*S n n"]) -> Float[Tensor, "*S n n"]:
    """Double centring: d_ij − mean_i − mean_j + mean. Rows and columns of the result sum to 0.

    Args:
        d: Distances `[*S, n, n]`.

    Returns:
        `[*S, n, n]`.
    """
    return d - d.mean(-1, keepdim=True) - d.mean(-2, keepdim=True) + d.mean((-2, -1), keepdim=True)


def u_centred(d: Float[Tensor, "*S n n"]) -> Float[Tensor, "*S n n"]:
    """Unbiased double centring: sums over n−2 and (n−1)(n−2) in place of means, diagonal 0.

    Args:
        d: Distances `[*S, n, n]`, n at least 4.

    Returns:
        `[*S, n, n]`.

    Raises:
        ValueError: n is below 4.

    Source: Székely & Rizzo, "Partial distance correlation with methods for dissimilarities", 2014.
    """
    n = d.shape[-1]
    if n < 4:
        raise ValueError(
            f"n is {n}; the unbiased distance covariance needs at least 4 observations"
        )
    rows, columns = d.sum(-1, keepdim=True), d.sum(-2, keepdim=True)
    out = d - (rows + columns) / (n - 2) + d.sum((-2, -1), keepdim=True) / ((n - 1) * (n - 2))
    return out.masked_fill(torch.eye(n, dtype=torch.bool, device=d.device), 0.0)


def distance_covariance(
    x: Float[Tensor, "*S n D"], z: Float[Tensor, "*#S n E"], *, unbiased: bool = False
) -> Float[Tensor, "*S"]:
    """The squared distance covariance: 0 in the population exactly if x and z are independent.

    Biased: (1/n²)·Σ_ij A_ij·B_ij of the doubly centred distances
    Unbiased: Σ_ij Ã_ij·B̃_ij/(n(n−3))

    The biased one is never negative, and for independent samples it is positive by
    E|x−x'|·E|z−z'|·(n−1)/n². The unbiased one has the population's value as its expectation at
    every n, so that batches can be averaged; it can be negative. Memory is O(n²).

    Args:
        x: `[*S, n, D]`.
        z: `[*S, n, E]`.
        unbiased: Use the unbiased estimate.

    Returns:
        `[*S]`, in units of x times units of z.

    Source: Székely, Rizzo & Bakirov, "Measuring and testing dependence by correlation of
        distances", 2007.
    """
    a, b = distances(x), distances(z)
    if unbiased:
        n = a.shape[-1]
        return (u_centred(a) * u_centred(b)).sum((-2, -1)) / (n * (n - 3))
    return (centred(a) * centred(b)).mean((-2, -1))


def distance_correlation(
    x: Float[Tensor, "*S n D"], z: Float[Tensor, "*#S n E"], *, unbiased: bool = False
) -> Float[Tensor, "*S"]:
    """The squared distance correlation: dCov(x, z)/√(dCov(x, x)·dCov(z, z)).

    Args:
        x: `[*S, n, D]`.
        z: `[*S, n, E]`.
        unbiased: Use the unbiased estimates.

    Returns:
        `[*S]`, 0 where x or z is constant. Biased: from 0 to 1, and 1 exactly for a similarity of
        one component each. Unbiased: at most 1, and possibly negative.

    Source: Székely, Rizzo & Bakirov, 2007.
    """
    own = distance_covariance(x, x, unbiased=unbiased) * distance_covariance(
        z, z, unbiased=unbiased
    )
    varied = own > 0
    scale = torch.where(varied, own, 1.0).sqrt()
    return torch.where(varied, distance_covariance(x, z, unbiased=unbiased) / scale, 0.0)


def joint_distance_covariance(
    parts: Sequence[Float[Tensor, "*#S n _"]], *, c: float = 1.0
) -> Float[Tensor, "*S"]:
    """Joint dependence of several quantities; in the population 0 exactly if all are independent.

    (1/n²)·Σ_ij Π_k (U_k,ij + c) − c^d,  U_k = −(doubly centred distances)

    For two quantities it is their squared distance covariance, whatever c. For more it is the sum
    over sets of at least two of c^(d − size) times the set's own term: a larger c gives pairs more
    weight and higher orders less.

    Args:
        parts: d quantities `[*S, n, _]`.
        c: Above 0.

    Returns:
        `[*S]`.

    Raises:
        ValueError: There are fewer than two quantities, or c is not above 0.

    Source: Chakraborty & Zhang, "Distance metrics for measuring joint dependence",
        arXiv:1711.09179, 2019.
    """
    if len(parts) < 2 or not c > 0:
        raise ValueError(
            f"{len(parts)} quantities with c = {c} were given; joint dependence is of at least 2, "
            "with c above 0"
        )
    product = torch.ones(())
    for x in parts:
        product = product * (c - centred(distances(x)))
    return product.mean((-2, -1)) - c ** len(parts)


def pearson(x: Float[Tensor, "*S n"], z: Float[Tensor, "*#S n"]) -> Float[Tensor, "*S"]:
    """Pearson's correlation, which sees linear dependence only.

    Args:
        x: `[*S, n]`.
        z: `[*S, n]`.

    Returns:
        `[*S]` from −1 to 1; 0, with gradient 0, where either is constant.
    """
    a, b = x - x.mean(-1, keepdim=True), z - z.mean(-1, keepdim=True)
    own = a.square().sum(-1) * b.square().sum(-1)
    varied = own > 0
    return torch.where(varied, (a * b).sum(-1) / torch.where(varied, own, 1.0).sqrt(), 0.0)


def midranks(x: Float[Tensor, "*S n"]) -> Float[Tensor, "*S n"]:
    """The share of a row's entries that lie below each, ties counted by half.

    (#{j : x_j < x_i} + ½·#{j : x_j = x_i})/n: the chance that an entry beats one of its row.

    Args:
        x: `[*S, n]`.

    Returns:
        `[*S, n]` from 1/(2n) to 1 − 1/(2n).
    """
    ordered = x.sort(-1).values.contiguous()
    below = torch.searchsorted(ordered, x.contiguous())
    upto = torch.searchsorted(ordered, x.contiguous(), right=True)
    return (below + upto).to(x.dtype) / (2 * x.shape[-1])


def rank_correlation(x: Float[Tensor, "*S n"], z: Float[Tensor, "*#S n"]) -> Float[Tensor, "*S"]:
    """Spearman's rank correlation: Pearson's of the midranks.

    Args:
        x: `[*S, n]`.
        z: `[*S, n]`.

    Returns:
        `[*S]` from −1 to 1; 0 where either is constant.
    """
    return pearson(midranks(x), midranks(z))


def kendall(a: Float[Tensor, "*S n"], b: Float[Tensor, "*S n"]) -> Float[Tensor, "*S"]:
    """Kendall's τ-a of n observations: the share of pairs in one order less those in the other.

        τ = 2/(n(n − 1))·Σ_{i<j} sign(a_i − a_j)·sign(b_i − b_j)

    A pair that is tied counts 0.

    Args:
        a: `[*S, n]`.
        b: `[*S, n]`.

    Returns:
        `[*S]`, from −1 to 1.
    """
    i, j = torch.triu_indices(a.shape[-1], a.shape[-1], 1)
    return ((a[..., i] - a[..., j]).sign() * (b[..., i] - b[..., j]).sign()).mean(-1)
