"""Designed rewards: potentials that change no policy, sparse rewards, bonuses that fade.

Tables are those of formulas/occupancy.py: P `[S, A, S]`, rewards `[S, A]`. The problem is endless
with γ < 1; a terminal state leads to itself and pays nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.formulas.occupancy import greedy, optimal_values


def shaping(
    potential: Float[Tensor, "S"],
    terminal: Bool[Tensor, "S"],
    before: Int[Tensor, "*S"],
    after: Int[Tensor, "*S"],
    *,
    gamma: float,
) -> Float[Tensor, "*S"]:
    """Potential-based shaping: F = γ·Φ(s') − Φ(s), with Φ = 0 in a terminal state.

    Every return changes by −Φ(s₀) + γᵀ·Φ(s_T). An episode that its horizon cuts keeps Φ(s_T), since
    its last state is not terminal.

    Args:
        potential: Φ `[S]`.
        terminal: Which states are terminal `[S]`.
        before: States s `[*S]`.
        after: States s' `[*S]`.
        gamma: γ.

    Returns:
        `[*S]`.

    Source: Ng, Harada & Russell, "Policy invariance under reward transformations", 1999.
    """
    level = torch.where(terminal, potential.new_zeros(()), potential)
    return gamma * level[after] - level[before]


def shaped(
    R: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    potential: Float[Tensor, "S"],
    terminal: Bool[Tensor, "S"],
    *,
    gamma: float,
) -> Float[Tensor, "S A"]:
    """The reward table of a shaped problem: R + E[F | s,a]. Its Q* is the original's minus Φ(s).

    Args:
        R: Rewards `[S, A]`.
        P: Transitions `[S, A, S]`.
        potential: Φ `[S]`.
        terminal: Which states are terminal `[S]`.
        gamma: γ.

    Returns:
        `[S, A]`; the optimal policies are the original's.
    """
    level = torch.where(terminal, potential.new_zeros(()), potential)
    return R + gamma * (P @ level) - level[:, None]


def keeps_optimal(
    R: Float[Tensor, "S A"],
    original: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    *,
    gamma: float,
) -> bool:
    """Whether every policy that is optimal under R is optimal under the original reward.

    Args:
        R: Rewards `[S, A]`.
        original: The original rewards `[S, A]`.
        P: Transitions `[S, A, S]`.
        gamma: γ.
    """
    q = optimal_values(P, original, gamma=gamma)
    return bool((greedy(q) | ~greedy(optimal_values(P, R, gamma=gamma))).all())


def truncated_gaps(
    pi: Float[Tensor, "S A"], P: Float[Tensor, "S A S"], *, gamma: float, horizons: tuple[int, ...]
) -> Float[Tensor, "H S A SA"]:
    """Matrices of what a deviation from π costs within h + 1 steps, linear in the reward.

    (G_h·R)(s,a) = V_h^π(s) − Q_h^π(s,a)

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        gamma: γ.
        horizons: The values of h.

    Returns:
        G `[H, S, A, S·A]`.
    """
    S, A = pi.shape
    now = torch.eye(S * A, dtype=pi.dtype).reshape(S, A, S * A)
    q, out = now, []
    for h in range(max(horizons) + 1):
        if h in horizons:
            out.append(torch.einsum("sa,saz->sz", pi, q)[:, None] - q)
        q = now + gamma * torch.einsum("sax,xb,xbz->saz", P, pi, q)
    return torch.stack(out)


def informativeness(
    R: Float[Tensor, "*c SA"], gaps: Float[Tensor, "H S A SA"], delta: Float[Tensor, "S"]
) -> Float[Tensor, "*c"]:
    """How much a reward tells of optimal actions at short horizons; at most 0.

    I(R) = −mean_{h,s} max_a [δ_s − A_h(s,a)]₊ over actions that are not optimal

    Args:
        R: Rewards `[*c, S·A]`.
        gaps: From `truncated_gaps` `[H, S, A, S·A]`; rows of zeros (optimal actions) are left out.
        delta: δ `[S]`.

    Returns:
        `[*c]`. States in which every action is optimal count 0.

    Source: Devidze et al., "Explicable Reward Design for Reinforcement Learning Agents", 2021.
    """
    A = torch.einsum("hsaz,...z->...hsa", gaps, R)
    counted = gaps.abs().amax(-1) > 0
    short = torch.where(counted, (delta[:, None] - A).clamp(min=0), A.new_zeros(()))
    return -short.amax(-1).mean((-2, -1))


def teaching_gain(
    pi: Float[Tensor, "S A"], visits: Float[Tensor, "S"], advantage: Float[Tensor, "S A"]
) -> Float[Tensor, "S A"]:
    """What a reward teaches a learner at once, as weights of the reward table.

    c(s,a) = μ(s)·π(a|s)·(A*(s,a) − Σ_b π(b|s)·A*(s,b)), so that
    Σ c·R = Σ_s μ(s) Σ_a π(a|s)·A*(s,a)·(R(s,a) − Σ_b π(b|s)·R(s,b))

    Args:
        pi: The learner's π `[S, A]`.
        visits: μ `[S]`.
        advantage: A* `[S, A]`.

    Returns:
        c `[S, A]`.
    """
    return visits[:, None] * pi * (advantage - (pi * advantage).sum(-1, keepdim=True))


def count_bonus(count: Float[Tensor, "*S"], *, scale: float, most: float) -> Float[Tensor, "*S"]:
    """Exploration bonus that fades with visits: λ/√(N + (λ/B)²).

    Args:
        count: Visits N `[*S]`.
        scale: λ, above 0.
        most: B, the bonus of a state without visits, above 0.

    Returns:
        `[*S]`.

    Raises:
        ValueError: scale or most is not above 0.

    Source: Devidze et al., "Exploration-Guided Reward Shaping" (ExploRS), 2022.
    """
    if not (scale > 0 and most > 0):
        raise ValueError(f"scale is {scale} and most {most}; both are above 0")
    return scale / (count + (scale / most) ** 2).sqrt()
