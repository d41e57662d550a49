"""Preference games: two policies answer one prompt, and P says whose response is preferred.

`P[a, b]` is the probability that response a beats response b, with P + Pᵀ = 1, so that a policy
beats itself with ½. The game is symmetric and of constant sum: both players have the same Nash
policies, and the value is ½. Policies are probabilities `[*S, A]` over A responses, the last axis;
the preference matrix is `[*S, A, A]`.

The regularised game charges each player for leaving a reference policy μ, in nats times τ:

    P_τ(π ≻ π′) = P(π ≻ π′) − τ·KL(π‖μ) + τ·KL(π′‖μ)

It has value ½ too, and one Nash policy, π* ∝ μ·exp(P(· ≻ π*)/τ).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 1e-300  # a probability below is taken as this, so that its logarithm is a number


def win_rate(
    pi: Float[Tensor, "*S A"], other: Float[Tensor, "*S A"], P: Float[Tensor, "*S A A"]
) -> Float[Tensor, "*S"]:
    """Probability that π's response beats the other policy's: P(π ≻ π′) = πᵀ P π′.

    Args:
        pi: π `[*S, A]`.
        other: π′ `[*S, A]`.
        P: `[*S, A, A]`.

    Returns:
        `[*S]`; ½ where the two are the same policy.
    """
    return (pi * _against(other, P)).sum(-1)


def exploitability(pi: Float[Tensor, "*S A"], P: Float[Tensor, "*S A A"]) -> Float[Tensor, "*S"]:
    """How far the best response beats a policy: max_y P(y ≻ π) − ½.

    Here it is one player's gain. The duality gap of the pair (π, π), which other authors report, is
    twice as large.

    Args:
        pi: π `[*S, A]`.
        P: `[*S, A, A]`.

    Returns:
        `[*S]`, from 0 (π is a Nash policy) to ½.
    """
    return _against(pi, P).amax(-1) - 0.5


def regularised_exploitability(
    pi: Float[Tensor, "*S A"],
    P: Float[Tensor, "*S A A"],
    reference: Float[Tensor, "*S A"],
    *,
    tau: float,
) -> Float[Tensor, "*S"]:
    """How far the best response wins the regularised game: max_π′ P_τ(π′ ≻ π) − ½.

    The best response is μ·exp(P(· ≻ π)/τ), so that the maximum is a log-sum:

        τ·log Σ_y μ(y)·exp(P(y ≻ π)/τ) + τ·KL(π‖μ) − ½

    It equals τ·KL(π‖that response), and is 0 at the Nash policy alone.

    Args:
        pi: π `[*S, A]`.
        P: `[*S, A, A]`.
        reference: μ `[*S, A]`.
        tau: τ, per nat; 0 for `exploitability`.

    Returns:
        `[*S]`.

    Raises:
        ValueError: τ is below 0, or μ has a zero.
    """
    if tau == 0:
        return exploitability(pi, P)
    log_mu = _log_reference(reference, tau)
    best = tau * (log_mu + _against(pi, P) / tau).logsumexp(-1)
    kl = (torch.xlogy(pi, pi) - pi * log_mu).sum(-1)
    return best + tau * kl - 0.5


def geometric_mixture(
    pi: Float[Tensor, "*S A"], reference: Float[Tensor, "*S A"], *, weight: float
) -> Float[Tensor, "*S A"]:
    """Geometric mixture of a policy and the reference: ∝ π^(1−w)·μ^w.

    Args:
        pi: π `[*S, A]`, probabilities.
        reference: μ `[*S, A]`.
        weight: w, the reference's share: 0 is π, 1 is μ.

    Returns:
        `[*S, A]`, probabilities.

    Raises:
        ValueError: The weight is outside [0, 1].

    Source: Munos et al., "Nash Learning from Human Feedback", arXiv:2312.00886, 2023, section 4.
    """
    return log_geometric_mixture(_log(pi), _log(reference), weight=weight).exp()


def log_geometric_mixture(
    logp: Float[Tensor, "*S A"], reference: Float[Tensor, "*S A"], *, weight: float
) -> Float[Tensor, "*S A"]:
    """`geometric_mixture` of log-probabilities, as log-probabilities.

    Where one weight is 0 its policy has no say, also where it forbids a response.

    Args:
        logp: log π `[*S, A]`.
        reference: log μ `[*S, A]`.
        weight: w, the reference's share.

    Returns:
        `[*S, A]`.

    Raises:
        ValueError: The weight is outside [0, 1].
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; the reference's share must lie in [0, 1]")
    if weight in (0, 1):
        return (reference if weight else logp).log_softmax(-1)
    return ((1 - weight) * logp + weight * reference).log_softmax(-1)


def proximal_step(
    logp: Float[Tensor, "*S A"],
    payoff: Float[Tensor, "*S A"],
    reference: Float[Tensor, "*S A"],
    *,
    eta: float,
    tau: float,
) -> Float[Tensor, "*S A"]:
    """One step of mirror descent on a regularised payoff, solved exactly:

        argmax_p η·(⟨p, q⟩ − τ·KL(p‖μ)) − KL(p‖π) = (π·μ^(ητ)·e^(ηq))^(1/(1+ητ)), normalised

    Args:
        logp: log π `[*S, A]`, the policy to step from.
        payoff: q `[*S, A]`, such as P(· ≻ π).
        reference: log μ `[*S, A]`.
        eta: η, the step.
        tau: τ, per nat; 0 for multiplicative weights.

    Returns:
        log-probabilities `[*S, A]`.

    Raises:
        ValueError: η is not above 0, or τ is below 0.
    """
    if not eta > 0 or tau < 0:
        raise ValueError(f"eta is {eta} and tau is {tau}; eta must be above 0, tau at least 0")
    pulled = logp + eta * payoff if tau == 0 else logp + eta * tau * reference + eta * payoff
    return (pulled / (1 + eta * tau)).log_softmax(-1)


@torch.no_grad()
def regularised_nash(
    P: Float[Tensor, "*S A A"],
    reference: Float[Tensor, "*S A"],
    *,
    tau: float,
    tolerance: float = 1e-10,
) -> Float[Tensor, "*S A"]:
    """The Nash policy of the regularised game, π* ∝ μ·exp(P(· ≻ π*)/τ), in float64.

    Newton's method on the logarithms. With D = diag π the Jacobian I − P·D/τ, restricted to
    changes that keep Σ π = 1, is never singular, because P − ½ is skew. A step is halved while it
    does not lower the residual. τ is lowered to its value by factors of at most 2, each solution
    the start of the next.

    Args:
        P: `[*S, A, A]`.
        reference: μ `[*S, A]`.
        tau: τ, above 0.
        tolerance: The largest regularised exploitability that is accepted.

    Returns:
        `[*S, A]`, probabilities in float64.

    Raises:
        ValueError: τ is not above 0, or μ has a zero.
        ArithmeticError: The tolerance was not reached.
    """
    if not tau > 0:
        raise ValueError(f"tau is {tau}; a regularised game needs it above 0")
    log_mu = _log_reference(reference.double(), tau)
    shape, A = log_mu.shape, log_mu.shape[-1]
    games = P.double().expand(*shape, A).reshape(-1, A, A)
    log_mu = log_mu.reshape(-1, A).log_softmax(-1)
    pairs = zip(games, log_mu, strict=True)
    pi = torch.stack([_path(game, mu, tau) for game, mu in pairs]).exp()
    left = regularised_exploitability(pi, games, log_mu.exp(), tau=tau).abs().max()
    if not float(left) <= tolerance:
        raise ArithmeticError(
            f"the regularised Nash policy at tau {tau} was found to {float(left):.1e} only, and "
            f"{tolerance:.1e} was asked for; take a larger tau"
        )
    return pi.reshape(shape)


def _path(P: Tensor, log_mu: Tensor, tau: float) -> Tensor:
    """log π* of one game, followed from a large τ down; as far as it can be followed."""
    z, at, ratio = log_mu, math.inf, 2.0
    while at > tau:
        lower = max(tau, 1.0 if at == math.inf else at / ratio)
        found = _newton(z, P, log_mu, lower)
        if found is not None:
            z, at, ratio = found, lower, min(2.0, ratio**2)
        elif ratio > 1.001:
            ratio = ratio**0.5
        else:
            break
    return z


def _newton(z: Tensor, P: Tensor, log_mu: Tensor, tau: float, most: int = 30) -> Tensor | None:
    """Solve z = log μ + P·e^z/τ − log Σ by Newton's method from z; None where it does not end."""
    eye = torch.eye(len(z), dtype=z.dtype, device=z.device)

    def residual(z: Tensor) -> Tensor:
        return z - (log_mu + P @ z.exp() / tau).log_softmax(-1)

    gap = residual(z)
    for _ in range(most):
        size = float(gap.abs().max())
        if size < 1e-10:
            return z
        p = (z - gap).exp()  # what the softmax on the right-hand side gives
        slope = P * z.exp() / tau
        step = torch.linalg.solve(eye - slope + p @ slope, gap)
        scale = 1.0
        while scale > 1e-6:
            better = (z - scale * step).log_softmax(-1)
            left = residual(better)
            if float(left.abs().max()) < (1 - scale / 4) * size:
                break
            scale /= 2
        else:
            return None
        z, gap = better, left
    return None


def _against(pi: Tensor, P: Tensor) -> Tensor:
    """P(y ≻ π) of each response y, `[*S, A]`."""
    return (P @ pi[..., None])[..., 0]


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=LEAST if p.dtype == torch.float64 else torch.finfo(p.dtype).tiny).log()


def _log_reference(reference: Tensor, tau: float) -> Tensor:
    if tau < 0:
        raise ValueError(f"tau is {tau}; it must be at least 0")
    if bool((reference <= 0).any()):
        raise ValueError(
            "the reference gives a response probability 0, and the KL to it is infinite; give "
            "every response a chance"
        )
    return reference.log()


def truncated_skew(weight: Float[Tensor, "V V"], *, rank: int) -> Float[Tensor, "V V"]:
    """A nearest skew matrix with so many planes: W ≈ Σ_k 2λ_k·Im(v_k v_kᴴ).

    λ_k are the largest eigenvalues of the Hermitian iW and v_k their vectors, a plane each, also
    where planes are equally strong. (Of a singular value decomposition, whose values come in equal
    pairs, the first 2k vectors are then parts of more planes than k.)

    Args:
        weight: W `[V, V]`, skew.
        rank: Planes to keep, those with the largest values.

    Returns:
        `[V, V]`, skew.

    Raises:
        ValueError: The rank is below 1.
    """
    if rank < 1:
        raise ValueError(f"rank is {rank}; at least one plane must be kept")
    strength, plane = torch.linalg.eigh(1j * weight)  # ascending, in pairs ±λ
    strength, plane = strength[-rank:].clamp(min=0), plane[:, -rank:]
    kept: Tensor = 2 * ((plane * strength) @ plane.mH).imag
    return kept
