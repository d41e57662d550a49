"""How much two quantities depend on each other in a sample: distance covariance, which sees every
form, and Pearson's, a line.

n observations stand on the last axis but one, their components on the last: `x [*S,n,D]`, `z
[*S,n,E]`; leading axes broadcast, so M judges are measured at once. Every gradient is finite: where
two observations coincide, or one quantity is constant, the derivative is 0 instead of 0/0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def distances(x: Float[Tensor, "*S n D"]) -> Float[Tensor, "*S n n"]:
    """Euclidean distances |x_i − x_j|; the derivative at 0 is 0."""
    square = (x[..., :, None, :] - x[..., None, :, :]).square().sum(-1)
    apart = square > 0
    return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)


def centred(d: Float[Tensor, "*S n n"]) -> Float[Tensor, "*S n n"]:
    """Double centring: d_ij − mean_i − mean_j + mean. Rows and columns of the result sum to 0."""
    return d - d.mean(-1, keepdim=True) - d.mean(-2, keepdim=True) + d.mean((-2, -1), keepdim=True)


def u_centred(d: Float[Tensor, "*S n n"]) -> Float[Tensor, "*S n n"]:
    """The unbiased centring of Székely and Rizzo (2014): sums over n−2 and (n−1)(n−2) in place of
    means, diagonal 0.
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
    """The *squared* distance covariance of x and z (Székely, Rizzo and Bakirov 2007): 0 in the
    population exactly if they are independent.

    Biased: mean_ij of A_ij·B_ij, the doubly centred distances; never negative, and positive for
    independent samples too, by E|x−x'|·E|z−z'|·(n−1)/n². Unbiased: Σ_ij Ã_ij·B̃_ij/(n(n−3)), whose
    expectation is the population's value at every n, so that batches may be averaged; it may be
    negative. O(n²) memory. In units of x times units of z.
    """
    a, b = distances(x), distances(z)
    if unbiased:
        n = a.shape[-1]
        return (u_centred(a) * u_centred(b)).sum((-2, -1)) / (n * (n - 3))
    return (centred(a) * centred(b)).mean((-2, -1))


def distance_correlation(
    x: Float[Tensor, "*S n D"], z: Float[Tensor, "*#S n E"], *, unbiased: bool = False
) -> Float[Tensor, "*S"]:
    """The *squared* distance correlation: distance_covariance(x,z)/√(that of (x,x) · that of
    (z,z)), 0 where either is constant.

    Biased: in [0, 1], 1 exactly for a similarity of one component each. Unbiased: may be negative,
    at most 1.
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
    """Joint dependence of several quantities (Chakraborty and Zhang 2019): mean_ij Π_k (U_k,ij + c)
    − c^d, U_k = −(doubly centred distances); 0 in the population exactly if they are mutually
    independent.

    Of two quantities it is their squared distance covariance, whatever c. Of more it is Σ over sets
    of at least two of c^(d − size) times the set's own term: a larger c weighs pairs more and
    higher orders less.
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
    """Pearson's correlation, in [−1, 1]; 0, with gradient 0, where either is constant. It sees
    straight lines only.
    """
    a, b = x - x.mean(-1, keepdim=True), z - z.mean(-1, keepdim=True)
    own = a.square().sum(-1) * b.square().sum(-1)
    varied = own > 0
    return torch.where(varied, (a * b).sum(-1) / torch.where(varied, own, 1.0).sqrt(), 0.0)
