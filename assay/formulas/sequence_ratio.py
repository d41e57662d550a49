"""Clipped surrogates whose trust region is not the token's: the sequence's, its weight's, a gate's.

Each is a loss of one term a decision, `[B, N, T]`, never reduced. At logp = old_logp the gradient
by log π of a completion, averaged over its decisions, is −A in all of them; they differ in what
remains of it once the policy has moved. No gradient passes into the advantage.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas.surrogate import log_ratio, ratio


def mean_log_ratio(
    logp: Float[Tensor, "B N T"], old_logp: Float[Tensor, "B N T"], mask: Bool[Tensor, "B N T"]
) -> Float[Tensor, "B N 1"]:
    """Mean over a completion's decisions of log π − log π_old: (1/|y|)·log(π(y)/π_old(y)).

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        mask: The policy's own decisions `[B, N, T]`.

    Returns:
        `[B, N, 1]` in nats a decision; 0 for a completion without decisions.

    Raises:
        ValueError: old_logp of a decision is NaN.
    """
    zero = logp.new_zeros(())
    apart = log_ratio(torch.where(mask, logp, zero), torch.where(mask, old_logp, zero))
    return apart.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)


def sequence_clipped(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    mask: Bool[Tensor, "B N T"],
    *,
    low: float = 3e-4,
    high: float = 4e-4,
    token: bool = False,
) -> Float[Tensor, "B N T"]:
    """GSPO: the surrogate of PPO, clipped by the completion's length-normalised ratio.

    s = (π(y)/π_old(y))^{1/|y|};  loss = max(−A·s, −A·clip(s, 1 − ε_low, 1 + ε_high))

    A completion is inside or outside the trust region as a whole: either all of its decisions have
    a gradient or none. With A the same for all decisions of a completion, `token` changes the
    gradient in nothing; it lets decisions have advantages of their own (GSPO-token):
    s_t = sg(s)·π_t/sg(π_t).

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, 1]`, or `[B, N, T]` with `token`.
        mask: The policy's own decisions `[B, N, T]`.
        low: ε_low, of a ratio a decision: two orders smaller than a token's.
        high: ε_high.
        token: Send the gradient through each decision's own log-probability.

    Returns:
        `[B, N, T]`; the sequence's loss at each of its decisions, so average them.

    Raises:
        ValueError: low or high is out of range, or old_logp of a decision is NaN.

    Source: Zheng et al., "Group Sequence Policy Optimization", arXiv:2507.18071, 2025, eqs. 5 to 7
        and 13.
    """
    _check(low, high)
    mean = mean_log_ratio(logp, old_logp, mask)
    s = mean.expand_as(logp).exp()
    if token:
        s = s.detach() * (torch.where(mask, logp - logp.detach(), logp.new_zeros(()))).exp()
    a = advantage.detach()
    return torch.maximum(-a * s, -a * s.clamp(1 - low, 1 + high))


def clipped_weight(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    *,
    low: float = 1.0,
    high: float = 4.0,
) -> Float[Tensor, "B N T"]:
    """CISPO: REINFORCE by a clipped importance weight: −sg(clip(ρ, 1 − ε_low, 1 + ε_high))·A·log π.

    The clip bounds a decision's weight and never takes its gradient away.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        low: ε_low; 1 for no lower bound, as in the paper's runs.
        high: ε_high; the weight is at most 1 + ε_high. TRL's `epsilon_high` of this loss is the
            bound itself, so its 5 is a 4 here.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: low or high is out of range, or old_logp is NaN.

    Source: MiniMax, "MiniMax-M1", arXiv:2506.13585, 2025, eqs. 4 and 5.
    """
    _check(low, high)
    weight = ratio(logp, old_logp).detach().clamp(1 - low, 1 + high)
    return -weight * advantage.detach() * logp


def soft_gate(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    *,
    positive: float = 1.0,
    negative: float = 1.05,
) -> Float[Tensor, "B N T"]:
    """SAPO: a sigmoid gate in place of the clip: −A·(4/τ)·σ(τ·(ρ − 1)), τ by the sign of A.

    Its derivative by log π is −A·ρ·4·σ(1 − σ): the plain surrogate's at ρ = 1, falling smoothly to
    both sides, the faster the larger τ. As τ → 0 it is the surrogate −A·ρ without a clip, up to a
    constant.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`.
        positive: τ where A > 0; above 0.
        negative: τ where A ≤ 0; above 0. Larger, since lowering one token raises all others.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: A temperature is not above 0, or old_logp is NaN.

    Source: Gao et al., "Soft Adaptive Policy Optimization", arXiv:2511.20347, 2025.
    """
    if not (positive > 0 and negative > 0):
        raise ValueError(
            f"positive is {positive} and negative {negative}: the temperatures of the gate must be "
            "above 0"
        )
    a = advantage.detach()
    tau = torch.where(a > 0, logp.new_tensor(positive), logp.new_tensor(negative))
    return -a * (4 / tau) * torch.sigmoid(tau * (ratio(logp, old_logp) - 1))


def geometric_mean(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N 1"],
    mask: Bool[Tensor, "B N T"],
    *,
    low: float = 0.4,
    high: float = 0.4,
) -> Float[Tensor, "B N T"]:
    """GMPO: the geometric mean of a completion's token ratios, each clipped: −A·(Π_t ρ̃_t)^{1/|y|}.

    ρ̃_t = min(ρ_t, e^{ε_high}) where A > 0, max(ρ_t, e^{−ε_low}) where A < 0

    Where nothing is clipped it is GSPO's ratio. A clipped token loses its own gradient and still
    counts in the ratio by which the others' are weighed.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_old `[B, N, T]`.
        advantage: A `[B, N, 1]`.
        mask: The policy's own decisions `[B, N, T]`.
        low: ε_low, in nats: the lower bound is e^{−ε_low}.
        high: ε_high, in nats.

    Returns:
        `[B, N, T]`; the sequence's loss at each of its decisions, so average them.

    Raises:
        ValueError: A bound is negative or no number, or old_logp of a decision is NaN.

    Source: Zhao et al., "Geometric-Mean Policy Optimization", arXiv:2507.20673, 2025, with its
        clip to (e^−0.4, e^0.4).
    """
    if not (low >= 0 and high >= 0) or math.isnan(low + high):
        raise ValueError(f"low is {low} and high {high}: both are widths in nats, at least 0")
    zero, a = logp.new_zeros(()), advantage.detach()
    d = log_ratio(torch.where(mask, logp, zero), torch.where(mask, old_logp, zero))
    sign = torch.sign(a)
    pessimistic = torch.minimum(sign * d, sign * d.clamp(-low, high))
    kept = torch.where(sign == 0, d, sign * pessimistic)
    count = mask.sum(-1, keepdim=True).clamp(min=1)
    return (-a * (kept.sum(-1, keepdim=True) / count).exp()).expand_as(logp)


def _check(low: float, high: float) -> None:
    if not (0 <= low <= 1 and high >= 0):
        raise ValueError(
            f"low is {low} and high {high}: the ratio is clipped to [1−low, 1+high], 0 ≤ low ≤ 1 "
            "and high ≥ 0"
        )
