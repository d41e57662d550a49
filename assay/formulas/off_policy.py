"""Group-relative REINFORCE read as an off-policy method: what is masked, weighed, or regularised.

One term a decision `[B, N, T]`, unless said otherwise, and never reduced. The completions may come
from any policy; the ratio is to that policy. Masks and weights have no gradient, so that every loss
is REINFORCE, −w·A·log π, on what is kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.sequence_ratio import mean_log_ratio
from assay.formulas.surrogate import log_ratio, ratio

SHAPES = ("none", "one_side", "two_side", "ring")


@torch.no_grad()
def rec_mask(
    rho: Float[Tensor, "*S"],
    advantage: Float[Tensor, "*S"],
    *,
    shape: str = "one_side",
    low: float = 0.2,
    high: float = 0.2,
    outer_low: float = 0.6,
    outer_high: float = 2.0,
) -> Bool[Tensor, "*S"]:
    """Which decisions the REC family learns from, by their ratio ρ and the sign of A.

    one_side: (A ≥ 0 and ρ ≤ 1 + ε_high) or (A ≤ 0 and ρ ≥ 1 − ε_low): PPO's clip as a mask
    two_side: 1 − ε_low ≤ ρ ≤ 1 + ε_high, whatever A
    ring:     one_side's inner band, and again what lies far out on the harmless side:
              two_side, or (A ≥ 0 and ρ ≤ 1 − ε'_low), or (A ≤ 0 and ρ ≥ 1 + ε'_high)

    Args:
        rho: Ratios `[*S]`.
        advantage: A `[*S]`.
        shape: none, one_side, two_side or ring.
        low: ε_low.
        high: ε_high.
        outer_low: ε'_low of the ring, at least ε_low.
        outer_high: ε'_high of the ring, at least ε_high.

    Returns:
        `[*S]`, True where it is learned from.

    Raises:
        ValueError: The shape is unknown, or a bound is out of range.

    Source: Yao et al., "Group-Relative REINFORCE Is Secretly an Off-Policy Algorithm",
        arXiv:2509.24203, 2025.
    """
    if shape not in SHAPES or not (0 <= low <= outer_low <= 1 and 0 <= high <= outer_high):
        raise ValueError(
            f"shape is '{shape}', low {low}, high {high}, outer_low {outer_low} and outer_high "
            f"{outer_high}: the shape is one of {', '.join(SHAPES)}, 0 ≤ low ≤ outer_low ≤ 1 and "
            "0 ≤ high ≤ outer_high"
        )
    if shape == "none":
        return torch.ones_like(rho, dtype=torch.bool)
    if shape == "one_side":
        return ((advantage >= 0) & (rho <= 1 + high)) | ((advantage <= 0) & (rho >= 1 - low))
    band = (rho >= 1 - low) & (rho <= 1 + high)
    if shape == "two_side":
        return band
    far = ((advantage >= 0) & (rho <= 1 - outer_low)) | ((advantage <= 0) & (rho >= 1 + outer_high))
    return band | far


def rec(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    *,
    shape: str = "one_side",
    weighted: bool = False,
    low: float = 0.2,
    high: float = 0.2,
    outer_low: float = 0.6,
    outer_high: float = 2.0,
    mask: Bool[Tensor, "B N T"] | None = None,
) -> Float[Tensor, "B N T"]:
    """REC: masked REINFORCE, −M(ρ, A)·A·log π, with or without the importance weight sg(ρ).

    With `weighted` and the mask of one side its gradient is PPO's clipped surrogate's exactly.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log of the policy that sampled `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        shape: See `rec_mask`.
        weighted: Weigh by ρ (the IS variants).
        low: ε_low.
        high: ε_high.
        outer_low: ε'_low.
        outer_high: ε'_high.
        mask: With it, the policy's own decisions: ρ is then the completion's, as in GSPO.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: See `rec_mask`; or old_logp is NaN.

    Source: Yao et al., arXiv:2509.24203, 2025.
    """
    with torch.no_grad():
        rho = (
            ratio(logp, old_logp)
            if mask is None
            else mean_log_ratio(logp, old_logp, mask).exp().expand_as(logp)
        )
        a = advantage.expand_as(logp)
    keep = rec_mask(
        rho, a, shape=shape, low=low, high=high, outer_low=outer_low, outer_high=outer_high
    )
    loss = -(rho * a if weighted else a) * logp
    return torch.where(keep, loss, loss.new_zeros(()))


def opmd(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N 1"],
    mask: Bool[Tensor, "B N T"],
    *,
    tau: float,
    sequence: bool = True,
) -> Float[Tensor, "B N T"]:
    """OPMD as in Kimi k1.5: −A·log π + (τ/2)·d², d the log-ratio to the sampler.

    With `sequence` d is the completion's, Σ_t (log π − log π_old)_t, as in the paper, and its
    square stands at the first decision, to be summed; else each decision's own, as in released
    code. They differ as soon as a completion has more than one decision. The group's mean reward
    stands where τ·log Z would, so that the fixed point is not the Gibbs policy.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log of the policy that sampled `[B, N, T]`.
        advantage: A, reward minus the group's mean `[B, N, 1]`.
        mask: The policy's own decisions `[B, N, T]`.
        tau: τ, in units of the reward per nat, at least 0. Released code absorbs the half.
        sequence: Square the completion's log-ratio.

    Returns:
        `[B, N, T]`; sum it over decisions.

    Raises:
        ValueError: tau is negative, or old_logp of a decision is NaN.

    Source: Kimi Team, "Kimi k1.5", arXiv:2501.12599, 2025, eq. 3; Yao et al., arXiv:2509.24203.
    """
    if not tau >= 0:
        raise ValueError(f"tau is {tau}; the weight of the regulariser must be at least 0")
    zero = logp.new_zeros(())
    d = log_ratio(torch.where(mask, logp, zero), torch.where(mask, old_logp, zero))
    if sequence:
        first = mask & (mask.cumsum(-1) == 1)
        d = torch.where(first, d.sum(-1, keepdim=True), zero)
    return -advantage.detach() * logp + 0.5 * tau * d.square()


def asymre(
    logp: Float[Tensor, "B N T"], advantage: Float[Tensor, "B N #T"], *, delta: float
) -> Float[Tensor, "B N T"]:
    """AsymRE: REINFORCE with a baseline that is lower by δ: −(A + δ)·log π.

    δ·log π imitates the sampler. On data of μ, with A = r − E_μ r, the minimiser is
    μ·(r − E_μ r + δ)/δ, where δ is large enough for it to be no less than 0.

    Args:
        logp: log π `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        delta: δ, in units of the reward.

    Returns:
        `[B, N, T]`.

    Source: Arnal et al., "Asymmetric REINFORCE for off-Policy Reinforcement Learning",
        arXiv:2506.20520, 2025.
    """
    return -(advantage.detach() + delta) * logp


@torch.no_grad()
def red_weight(advantage: Float[Tensor, "*S"], *, temperature: float = 1.0) -> Float[Tensor, "*S"]:
    """RED-Weight: advantages by their own exponential, A·exp(A/T): what is good counts more.

    Args:
        advantage: A `[*S]`.
        temperature: T, in units of the reward; above 0.

    Returns:
        `[*S]`, not normalised.

    Raises:
        ValueError: temperature is not above 0.

    Source: Yao et al., arXiv:2509.24203, 2025.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    return advantage * (advantage / temperature).exp()


def pairwise_consistency(
    log_ratios: Float[Tensor, "B N"],
    reward: Float[Tensor, "B N"],
    present: Bool[Tensor, "B N"],
    *,
    tau: float,
) -> Float[Tensor, "B"]:
    """The group's squared violations of the optimum: (1/K²)·Σ_{i<j} (a_i − a_j)².

    a_i = r_i − τ·log(π(y_i)/π_old(y_i)) is the same for all completions where π is the Gibbs policy
    π_old·e^{r/τ}/Z. At π = π_old its gradient is −(2τ/K)·Σ_i (r_i − r̄)·∇log π(y_i): that of
    group-relative REINFORCE, whatever sampled the completions.

    Args:
        log_ratios: Of whole completions, summed over decisions `[B, N]`.
        reward: `[B, N]`.
        present: Which completions count `[B, N]`.
        tau: τ, in units of the reward per nat.

    Returns:
        `[B]`; 0 for a prompt with fewer than two completions.

    Source: Yao et al., arXiv:2509.24203, 2025.
    """
    zero, k = log_ratios.new_zeros(()), present.sum(-1).clamp(min=1)
    a = torch.where(present, reward.detach() - tau * log_ratios, zero)
    centred = torch.where(present, a - (a.sum(-1) / k)[:, None], zero)
    return centred.square().sum(-1) / k
