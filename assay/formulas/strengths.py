"""Which checkpoint of a run is best: Bradley–Terry strengths on a curve with one peak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

F64 = torch.float64


class Fit(NamedTuple):
    """A posterior of strengths s = root·u, where u is normal.

    Attributes:
        root: `[P, D]`.
        mean: The mean of u `[D]`.
        precision: The Cholesky factor of the precision of u `[D, D]`.
        log_evidence: The log-likelihood of the labels under the prior.
    """

    root: Tensor
    mean: Tensor
    precision: Tensor
    log_evidence: float

    def draws(self, normals: Float[Tensor, "M D"]) -> Float[Tensor, "M P"]:
        """Strengths drawn from the posterior, by standard normals."""
        away = torch.linalg.solve_triangular(self.precision.mT, normals.mT, upper=True)
        return (self.root @ (self.mean[:, None] + away)).mT


class Curves(NamedTuple):
    """Draws of a curve of strengths.

    Attributes:
        strengths: `[M, P]`.
        weights: `[M]`; they sum to 1.
    """

    strengths: Tensor
    weights: Tensor


def run_shares(kl: Float[Tensor, "P"], *, even: float = 0.1) -> Float[Tensor, "P"]:
    """How much of a run each point has behind it, by its distance from the reference.

    d_k = max_{j ≤ k} √KL_j,  x_k = (1 − even)·d_k/d_last + even·k/(P − 1)

    Gao's laws are in √KL. A KL that is measured goes up and down, and a run can stand still: the
    highest so far, and a part by steps, keep points in their order and apart.

    Args:
        kl: KL of whole completions from the reference `[P]`, in nats; the first is the reference's
            and counts as 0, as do negative estimates.
        even: The part by steps, from 0 to 1.

    Returns:
        From 0 to 1, increasing `[P]`; even steps where nothing is away from the reference.

    Source: Gao, Schulman & Hilton, "Scaling laws for reward model overoptimization",
        arXiv:2210.10760, 2022, for √KL.
    """
    steps = torch.linspace(0, 1, len(kl), dtype=F64)
    d = torch.where(steps > 0, kl.to(F64), 0.0).clamp(min=0).sqrt().cummax(0).values
    return steps if not len(d) or d[-1] == 0 else (1 - even) * d / d[-1] + even * steps


def curve_root(x: Float[Tensor, "P"], *, height: float, bend: float) -> Float[Tensor, "P D"]:
    """A root of the prior covariance of a smooth curve that begins at 0.

    s(x) = a·x + b·e·x·log x + w(x)
    a, b ~ N(0, height²),  w: a Wiener process integrated once, with rate bend

    Gao's law d(α − β log d), in whatever unit d has: log(d/unit) only moves α. w is what a run adds
    to it. x is a share of the run, so that the prior does not depend on how many checkpoints there
    are.

    Args:
        x: Where the points are, from 0, increasing `[P]`; see `run_shares`.
        height: In nats of a win's odds.
        bend: In nats.

    Returns:
        `[P, P − 1]`, a lower triangle below a row of zeros.

    Source: Gao, Schulman & Hilton, arXiv:2210.10760, 2022, for policies trained by RL; Rasmussen &
        Williams, "Gaussian processes for machine learning", 2006, section 6.3 (the spline).
    """
    x = x[1:].to(F64)
    low, high = torch.minimum(x[:, None], x), torch.maximum(x[:, None], x)
    law = torch.stack([x, math.e * x * x.log()], -1)
    covariance = height**2 * law @ law.mT + bend**2 * low.square() * (3 * high - low) / 6
    tiny = 1e-10 * height**2 * torch.eye(len(x), dtype=F64)
    return torch.nn.functional.pad(torch.linalg.cholesky(covariance + tiny), (0, 0, 1, 0))


def strengths(
    a: Int[Tensor, "L"],
    b: Int[Tensor, "L"],
    n: Float[Tensor, "L"],
    won: Float[Tensor, "L"],
    root: Float[Tensor, "P D"],
) -> Fit:
    """The posterior of strengths by Laplace's approximation.

    logit P(a beats b) = s_a − s_b,  s = root·u,  u ~ N(0, I)

    The posterior is log-concave; Newton's method, with steps of at most 1 nat in any strength.

    Args:
        a: A point of each line of data `[L]`.
        b: The point it is compared with `[L]`.
        n: Comparisons of the line `[L]`.
        won: How many a won, ties counting ½ `[L]`.
        root: A root of the prior covariance, see `curve_root`.

    Returns:
        The posterior.

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, section 3.4.
    """
    n, won = n.to(F64), won.to(F64)
    apart = root[a] - root[b]  # [L, D]
    u, eye = torch.zeros(root.shape[1], dtype=F64), torch.eye(root.shape[1], dtype=F64)

    def curvature(u: Tensor) -> tuple[Tensor, Tensor]:
        p = torch.sigmoid(apart @ u)
        return torch.linalg.cholesky(eye + apart.mT @ ((n * p * (1 - p))[:, None] * apart)), p

    for _ in range(100):
        precision, p = curvature(u)
        step = torch.cholesky_solve((apart.mT @ (won - n * p) - u)[:, None], precision)[:, 0]
        far = (root @ step).abs().max() if len(step) else step.new_zeros(())
        u = u + step / far.clamp(min=1)
        if float(far) < 1e-8:
            break
    precision, _ = curvature(u)
    z = apart @ u
    likelihood = float((won * z - n * torch.nn.functional.softplus(z)).sum())
    evidence = likelihood - float(u.square().sum()) / 2 - float(precision.diagonal().log().sum())
    return Fit(root, u, precision, evidence)


def curves(
    a: Int[Tensor, "L"],
    b: Int[Tensor, "L"],
    n: Float[Tensor, "L"],
    won: Float[Tensor, "L"],
    x: Float[Tensor, "P"],
    normals: Float[Tensor, "M D"],
    *,
    heights: Sequence[float] = (1.0, 4.0),
    bends: Sequence[float] = (0.1, 1.0, 4.0),
    dip: float = 0.02,
) -> Curves:
    """Draws of a run's curve, given comparisons, under the prior that it has one peak.

    Smooth curves about Gao's law (`curve_root`), over √KL and over even steps, each axis, height
    and bend as far as its evidence goes; a draw weighs exp(−dips/dip), where dips is all that it
    falls before its highest point and rises after it.

    Where a rise is smaller than labels can show, the fall is not, and its shape says where it
    began.

    Args:
        a: A point of each line of data `[L]`; 0 is the reference.
        b: The point it is compared with `[L]`.
        n: Comparisons of the line `[L]`.
        won: How many a won, ties counting ½ `[L]`.
        x: Where the points of the curve are by √KL `[P]`, see `run_shares`.
        normals: Standard normals `[M, P − 1]`.
        heights: Standard deviations of the shapes' coefficients, in nats.
        bends: Rates of what is added to it, in nats.
        dip: In nats.

    Returns:
        About M curves.

    Source: Gao, Schulman & Hilton, arXiv:2210.10760, 2022, for the shape.
    """
    if len(x) < 2:
        return Curves(torch.zeros(1, len(x), dtype=F64), torch.ones(1, dtype=F64))
    steps = torch.linspace(0, 1, len(x), dtype=F64)
    axes = (x, steps) if (x - steps).abs().max() > 1e-9 else (steps,)
    roots = [curve_root(axis, height=h, bend=c) for axis in axes for h in heights for c in bends]
    fits = [strengths(a, b, n, won, root) for root in roots]
    share = torch.tensor([f.log_evidence for f in fits], dtype=F64).softmax(0)
    ends = (share.cumsum(0) * len(normals)).round().long().tolist()
    begins = [0, *ends[:-1]]
    s = torch.cat([f.draws(normals[i:j]) for f, i, j in zip(fits, begins, ends, strict=True)])
    top = s.argmax(1)
    return Curves(s, (-dips(s, top) / dip).softmax(0))


def dips(s: Float[Tensor, "M P"], top: Int[Tensor, "M"]) -> Float[Tensor, "M"]:
    """All that each curve falls before its highest point and rises after it."""
    change = s.diff(dim=1)
    before = torch.arange(change.shape[1]) < top[:, None]
    return torch.where(before, -change, change).clamp(min=0).sum(1)


def best_kept(
    of: Curves, among: Int[Tensor, "K"], *, share: float = 0.9, near: float = 0.01
) -> int:
    """The point that most probably has most of what the best one gains over the first.

    P_k = P(s_k ≥ share·max_j s_j); of points within `near` of the highest P, that of the highest
    mean strength.

    Args:
        of: The curve.
        among: Points to choose from `[K]`.
        share: The share of the gain.
        near: A difference in probability that does not count.

    Returns:
        The point.
    """
    s = of.strengths[:, among]
    enough: Bool[Tensor, "M K"] = s >= share * s.amax(1, keepdim=True)
    chance = of.weights @ enough.to(F64)
    mean = torch.where(chance >= chance.max() - near, of.weights @ s, -math.inf)
    return int(among[mean.argmax()])


def informative(of: Curves, among: Int[Tensor, "K"]) -> tuple[int, int]:
    """The two points whose next comparison tells most about which one is best.

    I(outcome; best) = H(p) − Σ_k P(k is best)·H(p | k is best),  H: the entropy of a coin

    On a curve with one peak these lie on its flanks, where outcomes are far from even, and seldom
    at the top.

    Args:
        of: The curve.
        among: Points that can be compared `[K]`.

    Returns:
        Two points; the same one twice if there is only one.

    Source: Lindley, "On a measure of the information provided by an experiment", 1956;
        Hennig & Schuler, "Entropy search for information-efficient global optimization", 2012.
    """
    if len(among) < 2:
        return int(among[0]), int(among[0])
    s = of.strengths[:, among]
    a, b = torch.triu_indices(len(among), len(among), 1)
    wins = of.weights[:, None] * torch.sigmoid(s[:, a] - s[:, b])  # [M, pairs]
    best = s.argmax(1)
    each = torch.zeros(len(among), len(a), dtype=F64).index_add(0, best, wins)
    place = torch.zeros(len(among), dtype=F64).index_add(0, best, of.weights)[:, None]
    told = _entropy(wins.sum(0)) - (place * _entropy(each / place.clamp(min=1e-300))).sum(0)
    most = int(told.argmax())
    return int(among[a[most]]), int(among[b[most]])


def _entropy(p: Tensor) -> Tensor:
    """Of a coin, in nats."""
    return torch.special.entr(p) + torch.special.entr((1 - p).clamp(min=0))
