"""Which checkpoint was the best, from all comparisons of a run: Bradley–Terry strengths that change smoothly along it."""
from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def strengths(a: Int[Tensor, "L"], b: Int[Tensor, "L"], n: Float[Tensor, "L"], won: Float[Tensor, "L"], *, points: int,
              bend: float = 0.02, slope: float = 0.3) -> tuple[Float[Tensor, "P"], Float[Tensor, "P P"]]:
    """MAP of s₀ = 0 … s₍P₋₁₎ and its Laplace covariance: logit P(point a beats point b) = s_a − s_b.

    Line l of the data: of n comparisons of point a with point b, a won `won` (ties ½). Prior: second differences
    N(0, bend²), the first step N(0, slope²): a smoothing spline, so that a look with four labels leans on its neighbours, and its
    maximum is not the luckiest look. Newton with steps held to 1 nat; the posterior is log-concave, so it has one mode.
    """
    F = torch.float64
    precision = torch.zeros(points, points, dtype=F)
    for k in range(points - 2):
        d = torch.tensor([1.0, -2.0, 1.0], dtype=F)
        precision[k:k + 3, k:k + 3] += torch.outer(d, d) / bend**2
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
        step = torch.linalg.solve(hessian[1:, 1:], gradient[1:]).clamp(-1, 1) if points > 1 else s.new_zeros(0)
        s = s + torch.nn.functional.pad(step, (1, 0))
        if points < 2 or float(step.abs().max()) < 1e-8:
            break
    covariance = torch.zeros(points, points, dtype=F)
    if points > 1:
        covariance[1:, 1:] = torch.linalg.inv(hessian[1:, 1:])
    return s, covariance


def doubtful(s: Float[Tensor, "P"], covariance: Float[Tensor, "P P"], among: Int[Tensor, "K"]) -> tuple[int, int]:
    """(best, challenger) among some points: the next comparison worth buying, by the challenger's expected improvement.

    E max(s_c − s_best, 0) = σ·(φ(z) + z·Φ(z)), z = (s_c − s_best)/σ, σ that of the difference. One point alone challenges itself.
    """
    best = int(among[s[among].argmax()])
    gap = s[among] - s[best]
    spread = (covariance[among, among] + covariance[best, best] - 2 * covariance[among, best]).clamp(min=0).sqrt()
    z = gap / spread.clamp(min=1e-12)
    gain = spread * ((-z.square() / 2).exp() / math.sqrt(2 * math.pi) + z * torch.special.ndtr(z))
    gain = torch.where(among == best, -1.0, gain)
    return best, int(among[gain.argmax()])
