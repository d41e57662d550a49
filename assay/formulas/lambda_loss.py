"""LiPO-λ: pairs of a list, weighed by what exchanging them would change of the list's DCG."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.formulas.listwise import all_pairs, checked

GRID = 1e-4  # scores, β times nats, that are nearer than this are equal


def unit_labels(
    reward: Float[Tensor, "*B K"], present: Bool[Tensor, "*B K"] | None = None
) -> Float[Tensor, "*B K"]:
    """Labels from rewards by the list's own range: (r − r_min)/(r_max − r_min).

    The worst of a list gets 0 and the best 1, however far apart they are.

    Args:
        reward: r `[*B, K]`.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B, K]` in [0, 1]; 0 throughout where all are equal or absent.

    Raises:
        ValueError: A reward is not finite.
    """
    _, r, here = checked(reward, reward, present)
    low = torch.where(here, r, torch.inf).amin(-1, keepdim=True)
    high = torch.where(here, r, -torch.inf).amax(-1, keepdim=True)
    apart = (high > low) & here
    return torch.where(apart, (r - low) / torch.where(high > low, high - low, 1.0), 0.0)


def win_rates(
    reward: Float[Tensor, "*B K"], present: Bool[Tensor, "*B K"] | None = None
) -> Float[Tensor, "*B K"]:
    """Labels from a pairwise reward: the chance to beat another completion of the list.

        ψ_i = mean_{j≠i} σ(r_i − r_j)

    Unlike `unit_labels` they are near one another where the rewards are.

    Args:
        reward: r, whose differences are log-odds of being preferred `[*B, K]`.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B, K]` in [0, 1]; 0 where a list has fewer than two present or a completion is absent.

    Raises:
        ValueError: A reward is not finite.
    """
    _, r, here = checked(reward, reward, present)
    other = here[..., :, None] & here[..., None, :]
    other = other & ~torch.eye(r.shape[-1], dtype=torch.bool, device=r.device)
    wins = torch.where(other, (r[..., :, None] - r[..., None, :]).sigmoid(), 0.0).sum(-1)
    return wins / other.sum(-1).clamp(min=1)


def ranks(
    scores: Float[Tensor, "*B K"], present: Bool[Tensor, "*B K"] | None = None
) -> Int[Tensor, "*B K"]:
    """Rank of each completion by its score, 1 for the highest; absent ones come last.

    Equal scores get different ranks, in the order of the list. Were their ranks equal, LiPO-λ would
    have no gradient at its start, where the policy is the reference and all scores are 0. Scores
    are compared after rounding to `GRID`: there they differ by what arithmetic rounds, which
    changes with the size of a batch.

    Args:
        scores: s `[*B, K]`.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B, K]`.
    """
    s = (scores.detach() / GRID).round()
    s = s if present is None else torch.where(present, s, -torch.inf)
    return s.argsort(dim=-1, descending=True, stable=True).argsort(-1) + 1


def lambda_weights(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B K K"]:
    """Weight of each pair of a list: |G_i − G_j|·|1/D_i − 1/D_j|.

    G = 2^ψ − 1 is a completion's gain and D = log(1 + rank) the discount of its rank by the scores,
    so the weight is what exchanging the two would change of the list's DCG.

    Args:
        scores: s `[*B, K]`, of which only the order counts.
        labels: ψ in [0, 1] `[*B, K]`, see `unit_labels` and `win_rates`.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B, K, K]`, without gradient.

    Raises:
        ValueError: A label is not finite or outside [0, 1], where 2^ψ would let one completion
            outweigh all others.
    """
    s, psi, here = checked(scores.detach(), labels, present)
    if bool(((psi < 0) | (psi > 1)).any()):
        raise ValueError(
            f"labels run from {float(psi.min()):.3g} to {float(psi.max()):.3g}, and the gain 2^ψ "
            "needs them in [0, 1]; map rewards by unit_labels or win_rates"
        )
    gain = torch.exp2(psi) - 1
    discount = 1 / torch.log1p(ranks(s, here).to(s.dtype))
    apart = (gain[..., :, None] - gain[..., None, :]).abs()
    return apart * (discount[..., :, None] - discount[..., None, :]).abs()


def exchanged(
    weights: Float[Tensor, "*B K K"],
    key: Float[Tensor, "*B K"],
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B K K"]:
    """Give each pair the weight of another pair of its list: the control of `lambda_weights`.

    The completions that are present take one another's places in the order of `key`, so that a
    list keeps its weights and none comes from an absent completion, whose gain and rank mean
    nothing. Where labels tie, some weight falls on pairs that order nothing, and counts nowhere.

    Args:
        weights: w of each pair `[*B, K, K]`.
        key: Random numbers below 1 `[*B, K]`.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B, K, K]`.
    """
    here = torch.ones_like(key, dtype=torch.bool) if present is None else present
    own = torch.where(here, 0, 1).argsort(dim=-1, stable=True)
    drawn = torch.where(here, key, 2.0).argsort(dim=-1, stable=True)
    other = torch.empty_like(own).scatter(-1, own, drawn)
    return weights.take_along_dim(other[..., None], -2).take_along_dim(other[..., None, :], -1)


def lambda_loss(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B"]:
    """LiPO-λ: −Σ_{ψ_i>ψ_j} |G_i − G_j|·|1/D_i − 1/D_j|·log σ(s_i − s_j).

    `all_pairs` with `lambda_weights`, which have no gradient but change with every update, since
    ranks do.

    Args:
        scores: s `[*B, K]`.
        labels: ψ in [0, 1] `[*B, K]`; no gradient flows into them.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B]`; 0 where a list orders nothing.

    Raises:
        ValueError: A label is not finite or outside [0, 1].

    Source: Liu et al., "LiPO: Listwise Preference Optimization through Learning-to-Rank",
        arXiv:2402.01878, 2024; the weights: Wang et al., "The LambdaLoss Framework for Ranking
        Metric Optimization", 2018.
    """
    weights = lambda_weights(scores, labels, present=present)
    return all_pairs(scores, labels, present=present, weights=weights)
