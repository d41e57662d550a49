"""Which checkpoint was the best, from all comparisons of a run: Bradley–Terry strengths that change
smoothly along it.
"""

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
    """MAP of s₀ = 0 … s₍P₋₁₎ and its Laplace covariance: logit P(point a beats point b) = s_a −
    s_b.

    Line l of the data: of n comparisons of point a with point b, a won `won` (ties ½). Prior:
    second differences N(0, bend²), the first step N(0, slope²): a smoothing spline, so that a look
    with four labels leans on its neighbours, and its maximum is not the luckiest look. Newton with
    steps held to 1 nat; the posterior is log-concave, so it has one mode.
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
    """The two points whose next `each` comparisons raise the strength of the best one most: the
    knowledge gradient.

    Comparing (a, b) moves the means by σ̃·Z, σ̃ = (Σ_a − Σ_b)/√(Var(s_a − s_b) + 1/(each·p(1 −
    p))), Z normal, so its worth is E max_k(s_k + σ̃_k·Z) − max_k s_k (Frazier, Powell and Dayanik
    2009, "The knowledge-gradient policy for correlated normal beliefs"), here by Gauss–Hermite
    quadrature. On a smooth curve that is two points on either flank, and not the two highest, which
    hardly differ. One point alone is compared with itself.
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
    """The earliest point within `doubt` standard errors of the strongest: of near-equals the one
    that has moved least.

    Strengths count how often an answer is better, not by how much; what a policy loses late in a
    run it loses in few answers and by much, so the strongest point lies somewhat later than the
    highest mean (docs/watch-bench.md).
    """
    best = int(among[s[among].argmax()])
    spread = (
        (covariance[among, among] + covariance[best, best] - 2 * covariance[among, best])
        .clamp(min=0)
        .sqrt()
    )
    return int(among[s[among] >= s[best] - doubt * spread].min())
