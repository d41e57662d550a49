"""Markov decision processes by exact enumeration: where a policy is, and what it earns.

With S states, A actions and H steps: policy π `[S, A]`, transitions P `[S, A, S]`, distribution of
the first state `[*b, S]`. A terminal state leads to itself and pays nothing, so that all
occupancies have the same mass. An episode has `horizon` steps; the discount γ is `gamma`, and 1 is
allowed.
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
    """Distribution of the state at every step: d_t(s) = P(s_t = s).

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        start: Distribution of the first state `[*b, S]`.
        horizon: Steps H.

    Returns:
        d_t for t = 0 … H `[H+1, *b, S]`, differentiable in π.
    """
    move = torch.einsum("sa,sax->sx", pi, P)
    laws = [start]
    for _ in range(horizon):
        laws.append(laws[-1] @ move)
    return torch.stack(laws)


def discounts(like: Tensor, *, gamma: float | Tensor, horizon: int) -> Float[Tensor, "H"]:
    """Powers of the discount: γ^t for t = 0 … H − 1.

    Args:
        like: A tensor of the dtype and device that are needed.
        gamma: γ; differentiable if it is a tensor.
        horizon: Steps H.

    Returns:
        `[H]`.
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
    """Discounted occupancy measure of states and actions.

    μ(s,a) = Σ_t γ^t·P(s_t = s, a_t = a) / Σ_t γ^t,  t < H

    The return is J = Σ_t γ^t · Σ μ·R. For H → ∞ and γ < 1 it is (1−γ)·Σ γ^t·P(s_t = s, a_t = a).

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        start: Distribution of the first state `[*b, S]`.
        horizon: Steps H.
        gamma: γ.

    Returns:
        μ `[*b, S, A]`, which sums to 1.

    Source: Laidlaw et al., "Correlated Proxies", arXiv:2403.03185, 2024.
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
    """Action values of a finite horizon: Q_t(s,a) = R(s,a) + γ·Σ_x P(x|s,a)·V_{t+1}(x).

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        R: Rewards `[S, A]`.
        horizon: Steps H.
        gamma: γ.

    Returns:
        Q_t for t = 0 … H − 1 `[H, S, A]`; Q_H is 0.
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
    """Mean and variance of the return Σ_t γ^t·R(s_t, a_t), by (r + γG)² = r² + 2γrG + γ²G².

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        R: Rewards `[S, A]`.
        start: Distribution of the first state `[*b, S]`.
        horizon: Steps.
        gamma: γ.

    Returns:
        Mean and variance, both `[*b]`.
    """
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
    """Policy gradient by the logits of a tabular softmax.

    Σ_t d_t(s)·π(a|s)·(Q_t(s,a) − V_t(s))

    As in practice it lacks the factor γ^t of the discounted return's gradient; at γ = 1 they agree.

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        R: Rewards `[S, A]`.
        start: Distribution of the first state `[S]`.
        horizon: Steps.
        gamma: γ.

    Returns:
        `[S, A]`.
    """
    q = action_values(pi, P, R, horizon=horizon, gamma=gamma)
    d = state_laws(pi, P, start, horizon=horizon)[:-1]
    return (d[:, :, None] * pi * (q - (pi * q).sum(-1, keepdim=True))).sum(0)


def optimal_values(
    P: Float[Tensor, "S A S"], R: Float[Tensor, "S A"], *, gamma: float, slack: float = 1e-12
) -> Float[Tensor, "S A"]:
    """Optimal action values Q* of the endless problem, by policy iteration.

    Args:
        P: Transitions `[S, A, S]`.
        R: Rewards `[S, A]`.
        gamma: γ, below 1.
        slack: It stops when no action gains more than this share of max |Q|.

    Returns:
        `[S, A]` in float64.

    Raises:
        ValueError: gamma is outside [0, 1).

    Source: Howard, "Dynamic Programming and Markov Processes", 1960.
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
    """Which actions are best in each state.

    Args:
        q: Action values `[*b, S, A]`.
        slack: Ties are up to this share of max |Q|, so that rounding makes no other policy.

    Returns:
        `[*b, S, A]`.
    """
    return q >= q.amax(-1, keepdim=True) - slack * q.abs().amax((-2, -1), keepdim=True).clamp(min=1)


def evaluation(
    pi: Float[Tensor, "S A"], P: Float[Tensor, "S A S"], *, gamma: float
) -> Float[Tensor, "S A SA"]:
    """The matrix that takes rewards to the endless action values Q^π: I + γ·P·(I − γ·P_π)⁻¹·π.

    Args:
        pi: π `[S, A]`.
        P: Transitions `[S, A, S]`.
        gamma: γ, below 1.

    Returns:
        `[S, A, S·A]`, to be multiplied by a reward `[S·A]`.
    """
    S, A = pi.shape
    onward = torch.linalg.inv(
        torch.eye(S, dtype=pi.dtype) - gamma * torch.einsum("sa,sax->sx", pi, P)
    )
    per_state = torch.einsum("xy,ya->xya", onward, pi).reshape(S, S * A)
    return torch.eye(S * A, dtype=pi.dtype).reshape(S, A, S * A) + gamma * (P @ per_state)


@torch.no_grad()
def step_centred(G: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Returns minus the mean of the other episodes' returns at the same step.

    A baseline of time alone leaves the expected gradient as it is, whatever states the others are
    in.

    Args:
        G: Returns `[B, N, T]`.
        mask: Steps that were taken `[B, N, T]`.

    Returns:
        `[B, N, T]`; 0 where masked, or where no other episode is still running.
    """
    held = torch.where(mask, G, G.new_zeros(()))
    others = mask.sum((0, 1)) - 1
    rest = (held.sum((0, 1)) - held) / others.clamp(min=1)
    return torch.where(mask & (others > 0), held - rest, G.new_zeros(()))
