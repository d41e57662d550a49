"""Several objectives at once: fronts, the volume they dominate, and how evenly they are covered.

Every objective is to be maximised. A point dominates another where it is nowhere below and
somewhere above it. Everything is in float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def nondominated(points: Float[Tensor, "P M"]) -> Bool[Tensor, "P"]:
    """Which points no other point dominates; equal points are all kept.

    Args:
        points: Values of M objectives.
    """
    p = points.double()
    nowhere_below = (p[:, None] >= p).all(-1)  # [q, p]: q against p
    return ~(nowhere_below & (p[:, None] > p).any(-1)).any(0)


def hypervolume(points: Float[Tensor, "P M"], reference: Float[Tensor, "M"]) -> Float[Tensor, ""]:
    """Volume of what lies above the reference point and below at least one point.

    HV(S) = λ(∪_{p∈S} [r₁,p₁] × … × [r_M,p_M])

    Args:
        points: Values of M objectives; those that are not above the reference everywhere add
            nothing.
        reference: r. The volume depends on it: a low one favours the ends of a front.

    Returns:
        The volume, in the product of the objectives' units. Exact, by slices along one objective
        after another: for a few objectives and up to some hundred points.

    Raises:
        ValueError: A value is NaN, or the shapes do not fit.
    """
    if points.dim() != 2 or points.shape[1:] != reference.shape or not len(reference):
        raise ValueError(
            f"points of shape {list(points.shape)} and a reference of {list(reference.shape)}; "
            "give [P, M] and [M]"
        )
    above = points.double() - reference.double()
    if bool(torch.isnan(above).any()):
        raise ValueError("a point or the reference is NaN; a hypervolume needs measured values")
    above = above[(above > 0).all(1)]
    return _volume(above[nondominated(above)])


def _volume(p: Tensor) -> Tensor:
    if not len(p):
        return p.new_zeros(())
    if p.shape[1] == 1:
        return p.max()
    p = p[p[:, 0].argsort()]
    widths = torch.diff(p[:, 0], prepend=p.new_zeros(1))
    total = p.new_zeros(())
    for i in (widths > 0).nonzero()[:, 0].tolist():
        total = total + widths[i] * _volume(p[i:, 1:])
    return total


def hypervolume_weight(gain: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What a reward is multiplied by after a validation: ½ + (3/2)·tanh(ΔHV).

    Args:
        gain: ΔHV ≥ 0, by how much a new point raises the hypervolume.

    Returns:
        From ½, where the point adds nothing, to 2.

    Source: Lu et al., arXiv:2509.11452, 2025, as in the released code.
    """
    return 0.5 + 1.5 * torch.tanh(gain)


def influence_weights(
    weights: Float[Tensor, "M"], gram: Float[Tensor, "M M"], *, rate: float
) -> Float[Tensor, "M"]:
    """Weights of the objectives after one mirror step on how much each one's gradient helps all.

    I_k = ⟨g_k, Σ_j g_j⟩,  w′ = softmax(log w + rate·I)

    Args:
        weights: w on the simplex, above 0.
        gram: ⟨g_i, g_j⟩ of the objectives' gradients.
        rate: η/μ of the paper, per unit of squared gradient.

    Returns:
        w′ on the simplex. An objective of a large gradient is influential by its size alone.

    Source: Lu et al., arXiv:2509.11452, 2025, as in the released code.
    """
    return (weights.double().log() + rate * gram.double().sum(1)).softmax(0)


def crowding_distance(points: Float[Tensor, "P M"]) -> Float[Tensor, "P"]:
    """How far each point's two neighbours are apart, summed over objectives, each in its range.

    d_i = Σ_k (p_k(i+1) − p_k(i−1)) / (max p_k − min p_k), in the order of objective k

    Args:
        points: A front.

    Returns:
        ∞ for the ends of any objective. An objective that is constant says nothing and adds 0.

    Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002.
    """
    p = points.double()
    distance = p.new_zeros(len(p))
    for k in range(p.shape[1]):
        order = p[:, k].argsort(stable=True)
        span = p[order[-1], k] - p[order[0], k]
        if not span > 0:
            continue
        distance[order[0]] = distance[order[-1]] = torch.inf
        distance[order[1:-1]] += (p[order[2:], k] - p[order[:-2], k]) / span
    return distance


def sparsity(points: Float[Tensor, "P M"]) -> Float[Tensor, ""]:
    """Mean squared gap between neighbours of a front, summed over objectives: lower is denser.

    S = Σ_k Σ_i (p_k(i+1) − p_k(i))² / (P − 1)

    Args:
        points: The front's points.

    Returns:
        In squared units of the objectives; 0 for a single point, which covers nothing: read it
        beside the hypervolume.

    Source: Xu et al., "Prediction-Guided Multi-Objective Reinforcement Learning for Continuous
        Robot Control", 2020.
    """
    gaps = points.double().sort(0).values.diff(dim=0)
    return gaps.square().sum() / max(len(points) - 1, 1)


def expected_utility(
    points: Float[Tensor, "P M"], weights: Float[Tensor, "W M"]
) -> Float[Tensor, ""]:
    """Mean over weightings of the best point's weighted sum: E_w max_p w·p.

    Args:
        points: What can be chosen from.
        weights: Preferences on the simplex, all counting equally.
    """
    return (weights.double() @ points.double().T).amax(1).mean()


def supporting(
    values: Float[Tensor, "R A M"], weights: Float[Tensor, "W M"]
) -> Float[Tensor, "W M"]:
    """Vertices of the exact front of a bandit: the mean over contexts of the best arm for w.

    J(w) = (1/R)·Σ_x v(x, argmax_y w·v(x,y))

    Policies mix arms, so that what can be reached is convex, whatever the arms: a fixed weighting
    ends at a vertex, and what lies between two of them takes a mixture.

    Args:
        values: Of each arm in each context.
        weights: W weightings.
    """
    best = torch.einsum("wm,ram->wra", weights.double(), values.double()).argmax(-1)  # [W,R]
    rows = torch.arange(values.shape[0])
    return values.double()[rows, best].mean(1)


def mixture_area(points: Float[Tensor, "P 2"], reference: Float[Tensor, "2"]) -> Float[Tensor, ""]:
    """Area that mixtures of points dominate, for two objectives: the hypervolume of a convex front.

    Args:
        points: Values of two objectives, none below the reference.
        reference: Corner of the area.
    """
    p = points.double() - reference.double()
    ends = torch.stack([p.new_tensor(0.0), p[:, 1].max(), p[:, 0].max(), p.new_tensor(0.0)])
    p = torch.cat([p, ends.reshape(2, 2)])  # the hull from the upper left to the lower right
    hull: list[Tensor] = []
    for q in p[(p[:, 0] - 1e-12 * p[:, 1]).argsort()]:
        while len(hull) > 1 and not _turns_right(hull[-2], hull[-1], q):
            hull.pop()
        hull.append(q)
    h = torch.stack(hull)
    return ((h[1:, 0] - h[:-1, 0]) * (h[1:, 1] + h[:-1, 1]) / 2).sum()


def _turns_right(a: Tensor, b: Tensor, c: Tensor) -> bool:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return bool(cross < 0)
