"""Designed rewards: potentials that change no policy, sparse rewards, bonuses that fade.

Tables are those of formulas/occupancy.py: P `[S, A, S]`, rewards `[S, A]`. The problem is endless
with γ < 1; a terminal state leads to itself and pays nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.formulas.occupancy import evaluation, greedy, optimal_values


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


def towards_invariance(
    R: Float[Tensor, "S A"],
    original: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    *,
    gamma: float,
    parts: int = 20,
) -> Float[Tensor, "S A"]:
    """The mixture of R and the original with the largest share of R that `keeps_optimal`.

    Args:
        R: Rewards `[S, A]`.
        original: The original rewards `[S, A]`.
        P: Transitions `[S, A, S]`.
        gamma: γ.
        parts: Shares of R that are tried: 1, 1 − 1/parts, … 0.

    Returns:
        `[S, A]`.
    """
    for k in range(parts, 0, -1):
        mixed = original + k / parts * (R - original)
        if keeps_optimal(mixed, original, P, gamma=gamma):
            return mixed
    return original


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


def explicable(
    original: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    terminal: Bool[Tensor, "S"],
    *,
    gamma: float,
    states: int,
    bound: float,
    horizons: tuple[int, ...] = (1, 4, 8, 16),
    sweeps: int = 60,
    active: tuple[int, ...] = (),
    chosen: tuple[int, ...] | None = None,
) -> tuple[Float[Tensor, "S A"], list[int]]:
    """A reward on few states that informs at short horizons and keeps the optimal policies (EXPRD).

    maximise I(R) with |R| ≤ bound, R = 0 outside the active states

    States are added one by one, each the best at its turn. The gap conditions A_∞ ≥ δ are a hinge
    in the objective, and `towards_invariance` makes the optimal policies' survival exact. π* is
    uniform over ties.

    Args:
        original: The original rewards `[S, A]`.
        P: Transitions `[S, A, S]`.
        terminal: Which states are terminal `[S]`.
        gamma: γ.
        states: States to add.
        bound: Largest |R|.
        horizons: Horizons of the informativeness.
        sweeps: Steps of the ascent for each candidate.
        active: States that are active from the beginning.
        chosen: States to add instead of the best ones, as a control.

    Returns:
        R `[S, A]`, and the active states.

    Source: Devidze et al., 2021.
    """
    q = optimal_values(P, original, gamma=gamma)
    best = greedy(q)
    pi = best.double() / best.sum(-1, keepdim=True)
    S, A = pi.shape
    worse = torch.where(best | terminal[:, None], torch.inf, q.amax(-1, keepdim=True) - q).amin(-1)
    delta = torch.where(torch.isfinite(worse), worse, 0.0) / (1 + 1e-5)
    off = (~best & ~terminal[:, None])[..., None]
    near = truncated_gaps(pi, P, gamma=gamma, horizons=horizons) * off
    value = evaluation(pi, P, gamma=gamma)
    full = ((torch.einsum("sa,saz->sz", pi, value)[:, None] - value) * off)[None]
    zone = sorted(set(active))
    found = original
    for _ in range(states if chosen is None else 1):
        more = (
            [[*zone, s] for s in range(S) if s not in zone and not terminal[s]]
            if chosen is None
            else [[*zone, *chosen]]
        )
        mask = torch.zeros(len(more), S, A, dtype=pi.dtype)
        for c, cells in enumerate(more):
            mask[c, cells] = 1
        R = _ascended(
            original.flatten() * mask.flatten(1), mask.flatten(1), near, full, delta, bound, sweeps
        )
        score = informativeness(R, near, delta) + 10 * informativeness(R, full, delta)
        winner = int(score.argmax())
        zone, found = more[winner], R[winner].reshape(S, A)
    return towards_invariance(found, original, P, gamma=gamma), sorted(set(zone))


def _ascended(
    R: Tensor, mask: Tensor, near: Tensor, full: Tensor, delta: Tensor, bound: float, sweeps: int
) -> Tensor:
    """Projected supergradient ascent on I + 10·(the same of the endless gaps), all candidates at
    once; the best iterate.
    """
    best, top = R, torch.full((len(R),), -torch.inf, dtype=R.dtype)
    for t in range(sweeps):
        gradient = torch.zeros_like(R)
        value = torch.zeros(len(R), dtype=R.dtype)
        for gaps, weight in ((near, 1.0), (full, 10.0)):
            A = torch.einsum("hsaz,cz->chsa", gaps, R)
            short = torch.where(
                gaps.abs().amax(-1) > 0, (delta[:, None] - A).clamp(min=0), A.new_zeros(())
            )
            most, at = short.max(-1, keepdim=True)
            value -= weight * most.mean((1, 2, 3))
            hit = torch.zeros_like(short).scatter_(-1, at, (most > 0).to(short.dtype))
            gradient += (
                weight
                * torch.einsum("chsa,hsaz->cz", hit, gaps)
                / (short.shape[1] * short.shape[2])
            )
        better = value > top
        top, best = torch.where(better, value, top), torch.where(better[:, None], R, best)
        size = (gradient * mask).abs().amax(-1, keepdim=True).clamp(min=1e-30)
        R = (R + mask * gradient / size * (0.5 * bound / (1 + t))).clamp(-bound, bound)
    return best


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
