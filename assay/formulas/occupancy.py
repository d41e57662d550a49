"""Markov decision processes by exact enumeration: where a policy is and what it earns. S states, A
actions, H steps.

Tables: π `[S,A]`, transitions P `[S,A,S]`, where to start `[*b,S]`. A terminal state leads to
itself and pays nothing, so that every occupancy has the same mass. An episode has `horizon` steps;
γ is `gamma`, and 1 is allowed.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def state_laws(
    pi: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    start: Float[Tensor, "*b S"],
    *,
    horizon: int,
) -> Float[Tensor, "H1 *b S"]:
    """d_t(s) = P(s_t = s) for t = 0 … horizon, differentiable in π."""
    move = torch.einsum("sa,sax->sx", pi, P)
    laws = [start]
    for _ in range(horizon):
        laws.append(laws[-1] @ move)
    return torch.stack(laws)


def discounts(like: Tensor, *, gamma: float | Tensor, horizon: int) -> Float[Tensor, "H"]:
    """γ^t for t = 0 … horizon − 1, of `like`'s dtype and device, differentiable in γ where it is a
    tensor.
    """
    return torch.as_tensor(gamma, dtype=like.dtype, device=like.device) ** torch.arange(
        horizon, device=like.device
    )


def occupancy(
    pi: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    start: Float[Tensor, "*b S"],
    *,
    horizon: int,
    gamma: float = 1.0,
) -> Float[Tensor, "*b S A"]:
    """μ(s,a) = Σ_t γ^t P(s_t=s, a_t=a) / Σ_t γ^t over t < horizon: sums to 1, and J = Σ_t γ^t · Σ
    μ·R.

    With horizon → ∞ and γ < 1 it is (1−γ)Σγ^t P(s_t=s, a_t=a), the measure of Laidlaw et al. 2024.
    """
    g = discounts(pi, gamma=gamma, horizon=horizon)
    visited = torch.einsum(
        "t,t...s->...s", g / g.sum(), state_laws(pi, P, start, horizon=horizon)[:-1]
    )
    return visited[..., None] * pi


def action_values(
    pi: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    R: Float[Tensor, "S A"],
    *,
    horizon: int,
    gamma: float | Tensor = 1.0,
) -> Float[Tensor, "H S A"]:
    """Q_t(s,a): reward of the steps t … horizon − 1 when π goes on after (s,a), backwards from
    Q_horizon = 0.
    """
    value, out = R.new_zeros(R.shape[0]), []
    for _ in range(horizon):
        out.append(R + gamma * (P @ value))
        value = (pi * out[-1]).sum(-1)
    return torch.stack(out[::-1])


def return_moments(
    pi: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    R: Float[Tensor, "S A"],
    start: Float[Tensor, "*b S"],
    *,
    horizon: int,
    gamma: float = 1.0,
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """Mean and variance of Σ_t γ^t R(s_t,a_t), by (r + γG)² = r² + 2γrG + γ²G² from the end."""
    first, second = R.new_zeros(R.shape[0]), R.new_zeros(R.shape[0])
    for _ in range(horizon):
        q1, q2 = P @ first, P @ second
        second = (pi * (R.square() + 2 * gamma * R * q1 + gamma**2 * q2)).sum(-1)
        first = (pi * (R + gamma * q1)).sum(-1)
    mean = start @ first
    return mean, (start @ second - mean.square()).clamp(min=0)


def policy_gradient(
    pi: Float[Tensor, "S A"],
    P: Float[Tensor, "S A S"],
    R: Float[Tensor, "S A"],
    start: Float[Tensor, "S"],
    *,
    horizon: int,
    gamma: float | Tensor = 1.0,
) -> Float[Tensor, "S A"]:
    """Σ_t d_t(s)·π(a|s)·(Q_t(s,a) − V_t(s)): E[Σ_t ∇log π(a_t|s_t) Σ_{j≥t} γ^{j−t} R_j] by the
    logits of a tabular softmax.

    Without the γ^t that the gradient of the discounted return has, as practice has it; at γ = 1
    they are one.
    """
    q = action_values(pi, P, R, horizon=horizon, gamma=gamma)
    d = state_laws(pi, P, start, horizon=horizon)[:-1]
    return (d[:, :, None] * pi * (q - (pi * q).sum(-1, keepdim=True))).sum(0)


def optimal_values(
    P: Float[Tensor, "S A S"], R: Float[Tensor, "S A"], *, gamma: float, slack: float = 1e-12
) -> Float[Tensor, "S A"]:
    """Q* of the endless problem, by policy iteration (Howard 1960) until no action gains more than
    `slack` of max|Q|.
    """
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma is {gamma}; the endless problem has a value where it lies below 1")
    P, R = P.double(), R.double()
    S = R.shape[0]
    rows, act = torch.arange(S), R.argmax(-1)
    while True:
        value = torch.linalg.solve(torch.eye(S, dtype=R.dtype) - gamma * P[rows, act], R[rows, act])
        q = R + gamma * (P @ value)
        gain = q.amax(-1) - q[rows, act]
        if float(gain.max()) <= slack * max(1.0, float(q.abs().max())):
            return q
        act = torch.where(gain > 0, q.argmax(-1), act)


def greedy(q: Float[Tensor, "*b S A"], *, slack: float = 1e-7) -> Bool[Tensor, "*b S A"]:
    """Which actions are best, up to slack times the largest |Q|: sums in another order are not
    another policy.
    """
    return q >= q.amax(-1, keepdim=True) - slack * q.abs().amax((-2, -1), keepdim=True).clamp(min=1)


def evaluation(
    pi: Float[Tensor, "S A"], P: Float[Tensor, "S A S"], *, gamma: float
) -> Float[Tensor, "S A SA"]:
    """The matrix that takes a reward R `[S·A]` to the endless Q^π: I + γ P (I − γ P_π)⁻¹ π. Needs γ
    < 1.
    """
    S, A = pi.shape
    onward = torch.linalg.inv(
        torch.eye(S, dtype=pi.dtype) - gamma * torch.einsum("sa,sax->sx", pi, P)
    )
    per_state = torch.einsum("xy,ya->xya", onward, pi).reshape(S, S * A)
    return torch.eye(S * A, dtype=pi.dtype).reshape(S, A, S * A) + gamma * (P @ per_state)


@torch.no_grad()
def step_centred(G: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """A_t = G_t − mean of the other episodes' G_t at the same step, over those still on; 0 where
    masked or where nobody else is.

    A baseline of the time alone, so it takes no gradient's mean away, whatever states the others
    are in.
    """
    held = torch.where(mask, G, G.new_zeros(()))
    others = mask.sum((0, 1)) - 1
    rest = (held.sum((0, 1)) - held) / others.clamp(min=1)
    return torch.where(mask & (others > 0), held - rest, G.new_zeros(()))


def _ratio(mu: Tensor, base: Tensor) -> Tensor:
    """μ/μ₀ where μ₀ is not 0; 0/0 is 1 and has no weight. Raises ValueError where μ has mass and μ₀
    has none.
    """
    empty = base <= 0
    if bool((mu[empty.expand_as(mu)] > 0).any()):
        raise ValueError(
            "the policy visits state-actions that the base policy never does: no divergence from "
            "it is finite"
        )
    return torch.where(
        empty, torch.ones_like(mu), mu / torch.where(empty, torch.ones_like(base), base)
    )


def occupancy_ratio(
    mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]
) -> Float[Tensor, "*b S A"]:
    """w = μ/μ₀, 1 where neither has mass. ValueError where μ ≪ μ₀ fails."""
    return _ratio(mu, base)


def chi_squared(mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]) -> Float[Tensor, "*b"]:
    """χ²(μ‖μ₀) = Σ μ·(μ/μ₀ − 1). Its gradient is 2·Σ w·∇μ: as a *reward*, w − 1 gives half of it."""
    return (mu * (_ratio(mu, base) - 1)).sum((-2, -1)).clamp(min=0)


def occupancy_kl(mu: Float[Tensor, "*b S A"], base: Float[Tensor, "*b S A"]) -> Float[Tensor, "*b"]:
    """KL(μ‖μ₀) = Σ μ·log(μ/μ₀) of two occupancies, which is not the KL of their trajectories."""
    return torch.special.xlogy(mu, _ratio(mu, base)).sum((-2, -1)).clamp(min=0)


def correlation(
    a: Float[Tensor, "S A"], b: Float[Tensor, "S A"], base: Float[Tensor, "S A"]
) -> Float[Tensor, ""]:
    """Pearson's r of two rewards under μ₀. ValueError where one of them is constant there."""
    whole, base = (base * a.square()).sum() * (base * b.square()).sum(), base / base.sum()
    a, b = (x - (base * x).sum() for x in (a, b))
    spread = (base * a.square()).sum() * (base * b.square()).sum()
    if not bool(
        spread > 4 * torch.finfo(base.dtype).eps ** 2 * whole
    ):  # what rounding leaves of a constant's variance
        raise ValueError(
            "a reward is constant where the base policy goes: it has no correlation with anything"
        )
    return (base * a * b).sum() / spread.sqrt()


def gain_bound(
    gain: Float[Tensor, "*b"], chi2: Float[Tensor, "*b"], *, r: float
) -> Float[Tensor, "*b"]:
    """Δ* ≥ (Δ̃ − √((1−r²)·χ²))/r: the least true gain of a proxy's gain (Laidlaw et al. 2024,
    theorem 5.1).

    Gains E_μ − E_μ₀ are in standard deviations under μ₀; r is the rewards' correlation there, in
    (0, 1].
    """
    if not 0 < r <= 1:
        raise ValueError(f"r is {r}; the bound is about proxies of positive correlation, at most 1")
    return (gain - ((1 - r**2) * chi2).clamp(min=0).sqrt()) / r


def sharp_gain_bound(
    gain: Float[Tensor, "*b"], chi2: Float[Tensor, "*b"], *, r: float
) -> Float[Tensor, "*b"]:
    """Δ* ≥ r·Δ̃ − √((1−r²)·(χ² − Δ̃²)): the worst case itself, hence never below `gain_bound` where
    that applies.

    Write w − 1 = Δ̃·R̃ + u with u ⊥ 1, R̃ and E_μ₀ u² = χ² − Δ̃²; R = r·R̃ + √(1−r²)·v with v a
    unit vector ⊥ R̃, and Cauchy and Schwarz bound E_μ₀[u·v].
    """
    if not 0 < r <= 1:
        raise ValueError(f"r is {r}; the bound is about proxies of positive correlation, at most 1")
    return r * gain - ((1 - r**2) * (chi2 - gain.square()).clamp(min=0)).sqrt()
