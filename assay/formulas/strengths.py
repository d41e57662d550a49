"""Which checkpoint of a run is best: Bradley–Terry strengths on a smooth curve."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def strengths(
    a: Int[Tensor, "L"],
    b: Int[Tensor, "L"],
    n: Float[Tensor, "L"],
    won: Float[Tensor, "L"],
    *,
    points: int,
    bend: float = 0.02,
    slope: float = 0.3,
) -> tuple[Float[Tensor, "P"], Float[Tensor, "P P"]]:
    """Maximum a-posteriori strengths and their Laplace covariance.

    logit P(a beats b) = s_a − s_b,  s₀ = 0
    Prior: second differences N(0, bend²), first step N(0, slope²)

    The prior is a smoothing spline: a point with four labels uses its neighbours, and the maximum
    is not the luckiest point. The posterior is log-concave; Newton's method, with steps of at most
    1 nat.

    Args:
        a: A point of each line of data `[L]`.
        b: The point it is compared with `[L]`.
        n: Comparisons of the line `[L]`.
        won: How many a won, ties counting ½ `[L]`.
        points: Points P.
        bend: Standard deviation of second differences, in nats.
        slope: Standard deviation of the first step, in nats.

    Returns:
        s `[P]` and its covariance `[P, P]`, in float64.
    """
    F = torch.float64
    precision = torch.zeros(points, points, dtype=F)
    for k in range(points - 2):
        d = torch.tensor([1.0, -2.0, 1.0], dtype=F)
        precision[k : k + 3, k : k + 3] += torch.outer(d, d) / bend**2
    if points > 1:
        d = torch.tensor([-1.0, 1.0], dtype=F)
        precision[:2, :2] += torch.outer(d, d) / slope**2
    s = torch.zeros(points, dtype=F)
    n, won = n.to(F), won.to(F)
    for _ in range(100):
        p = torch.sigmoid(s[a] - s[b])
        gradient = (-precision @ s).index_add(0, a, won - n * p).index_add(0, b, n * p - won)
        hessian = precision.clone()
        v = n * p * (1 - p)
        for i, j, sign in ((a, a, 1.0), (b, b, 1.0), (a, b, -1.0), (b, a, -1.0)):
            hessian.index_put_((i, j), sign * v, accumulate=True)
        step = (
            torch.linalg.solve(hessian[1:, 1:], gradient[1:]).clamp(-1, 1)
            if points > 1
            else s.new_zeros(0)
        )
        s = s + torch.nn.functional.pad(step, (1, 0))
        if points < 2 or float(step.abs().max()) < 1e-8:
            break
    covariance = torch.zeros(points, points, dtype=F)
    if points > 1:
        covariance[1:, 1:] = torch.linalg.inv(hessian[1:, 1:])
    return s, covariance


def informative(
    s: Float[Tensor, "P"],
    covariance: Float[Tensor, "P P"],
    among: Int[Tensor, "K"],
    *,
    each: int = 8,
) -> tuple[int, int]:
    """The two points whose next comparisons raise the best strength most: the knowledge gradient.

    Comparing a with b moves the means by σ̃·Z, Z normal:
    σ̃ = (Σ_a − Σ_b)/√(Var(s_a − s_b) + 1/(each·p(1 − p)))
    value = E max_k(s_k + σ̃_k·Z) − max_k s_k, by Gauss–Hermite quadrature

    On a smooth curve these are points on either flank, not the two highest ones.

    Args:
        s: Strengths `[P]`.
        covariance: `[P, P]`.
        among: Points that can be compared `[K]`.
        each: Comparisons.

    Returns:
        Two points; the same one twice if there is only one.

    Source: Frazier, Powell & Dayanik, "The knowledge-gradient policy for correlated normal
        beliefs", 2009.
    """
    if len(among) < 2:
        return int(among[0]), int(among[0])
    mean, cov = s[among], covariance[among][:, among]
    a, b = torch.triu_indices(len(among), len(among), 1)
    p = torch.sigmoid(mean[a] - mean[b])
    noise = 1 / (each * (p * (1 - p)).clamp(min=0.02))
    moved = (cov[:, a] - cov[:, b]) / (cov[a, a] + cov[b, b] - 2 * cov[a, b] + noise).clamp(
        min=1e-12
    ).sqrt()  # [K,pairs]
    ladder = torch.diag(torch.arange(1, 15, dtype=torch.float64).sqrt(), 1)
    z, vectors = torch.linalg.eigh(
        ladder + ladder.mT
    )  # Gauss–Hermite's places (Golub and Welsch, 1969)
    weight = vectors[0].square()
    worth = ((mean[:, None, None] + moved[..., None] * z).amax(0) * weight).sum(-1)
    best = int(worth.argmax())
    return int(among[a[best]]), int(among[b[best]])


def earliest_best(
    s: Float[Tensor, "P"],
    covariance: Float[Tensor, "P P"],
    among: Int[Tensor, "K"],
    *,
    doubt: float = 0.25,
) -> int:
    """The earliest point that is within some standard errors of the strongest.

    Strengths count how often a completion is better, not by how much. What a policy loses late in a
    run it loses in few completions and by much, so that the strongest point is later than the
    highest mean (docs/watch-bench.md).

    Args:
        s: Strengths `[P]`.
        covariance: `[P, P]`.
        among: Points to choose from `[K]`.
        doubt: Standard errors.

    Returns:
        The point.
    """
    best = int(among[s[among].argmax()])
    spread = (
        (covariance[among, among] + covariance[best, best] - 2 * covariance[among, best])
        .clamp(min=0)
        .sqrt()
    )
    return int(among[s[among] >= s[best] - doubt * spread].min())
