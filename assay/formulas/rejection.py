"""Statistical rejection sampling: from samples of one policy to samples of its Gibbs policy."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def acceptance(
    reward: Float[Tensor, "*B N"], left: Bool[Tensor, "*B N"], *, beta: float
) -> Float[Tensor, "*B N"]:
    """Chance of a candidate to be accepted: exp((r − r_max)/β), r_max over the candidates left.

    Args:
        reward: r `[*B, N]`.
        left: Which candidates are left `[*B, N]`.
        beta: β, at least 0, in units of the reward; at 0 only the best are accepted.

    Returns:
        `[*B, N]`, 1 for the best and 0 where `left` is False.
    """
    best = torch.where(left, reward, -torch.inf).amax(-1, keepdim=True)
    short = torch.where(left, reward - best, -torch.inf)
    chance = (short == 0).to(reward.dtype) if beta == 0 else (short / beta).exp()
    return torch.where(left, chance, 0.0)


def rejection_sampling(
    reward: Float[Tensor, "B N"],
    uniform: Float[Tensor, "B M N"],
    *,
    beta: float,
    present: Bool[Tensor, "B N"] | None = None,
) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"]]:
    """Accept M of N candidates without replacement, with chance exp((r − r_max)/β) a pass.

    A pass walks the candidates that are left in their order, accepts each by its own random number,
    and ends once M are accepted; passes follow with r_max over what is left. The best candidate's
    chance is 1, so each pass accepts at least one, and M passes are enough.

    Were r_max the largest reward that there is, and candidates drawn anew, the accepted would be
    samples of π₀·e^(r/β)/Z. With r_max of N candidates the law is between π₀'s and that: at β → 0
    it is best-of-N (the M best of N), at β → ∞ the first M candidates as they come, and for M = 1
    its distance to the Gibbs policy falls with N. Without replacement, what is accepted late comes
    from what was left: M near N is no selection at all.

    Args:
        reward: r, of independent samples of π₀ `[B, N]`.
        uniform: Random numbers, uniform on [0, 1) `[B, M, N]`, one for each pass and candidate.
        beta: β, at least 0, in units of the reward.
        present: Which candidates there are `[B, N]`; None for all.

    Returns:
        Places of the accepted among the N `[B, M]`, in the order of acceptance, and which of them
        count `[B, M]`: fewer than M where fewer candidates are present. Places that do not count
        are 0.

    Raises:
        ValueError: beta is below 0 or NaN, or the reward of a candidate that is present is not
            finite.

    Source: Liu et al., "Statistical Rejection Sampling Improves Preference Optimization" (RSO),
        arXiv:2309.06657, 2023, algorithm 1.
    """
    if not beta >= 0:
        raise ValueError(f"beta is {beta}; the temperature of acceptance must be at least 0")
    left = torch.ones_like(reward, dtype=torch.bool) if present is None else present.clone()
    if not bool(torch.isfinite(reward[left]).all()):
        raise ValueError(
            f"the rewards of {int((~torch.isfinite(reward) & left).sum())} candidates are not "
            "finite; mark them as absent or give them a reward"
        )
    M = uniform.shape[1]
    place = torch.zeros(len(reward), M, dtype=torch.int64, device=reward.device)
    count = torch.zeros(len(reward), 1, dtype=torch.int64, device=reward.device)
    index = torch.arange(reward.shape[1], device=reward.device)
    for k in range(M):
        accepted = (uniform[:, k] < acceptance(reward, left, beta=beta)) & left
        nth = count + accepted.cumsum(-1)  # 1 for the first that is accepted at all
        accepted = accepted & (nth <= M)
        slot = torch.where(accepted, nth - 1, M)  # what is not accepted goes to a slot of its own
        wide = torch.cat([place, place.new_zeros(len(place), 1)], 1)
        place = wide.scatter(1, slot, index.expand_as(slot))[:, :M]
        left = left & ~accepted
        count = count + accepted.sum(-1, keepdim=True)
    return place, torch.arange(M, device=reward.device) < count
