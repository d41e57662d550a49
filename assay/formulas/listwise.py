"""Losses of ranked lists: K completions of a prompt with scores and labels, one term a list.

Scores s are β·(log π − log π₀) of whole completions, labels ψ say how good each is. Absent
completions belong to no list, and a list that orders nothing (all labels equal, fewer than two
present) has loss 0 and no gradient. With two completions each loss here is `pairwise.dpo`'s.
"""

from __future__ import annotations

import functools

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

MOST = 12  # completions of a list with ties: their orders are summed over all 2^K subsets


def checked(
    scores: Tensor, labels: Tensor, present: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and labels that are 0 where nothing is present, and what is present.

    Raises:
        ValueError: The label of a completion that is present is not finite.
    """
    here = torch.ones_like(labels, dtype=torch.bool) if present is None else present
    if wrong := int((~torch.isfinite(labels) & here).sum()):
        raise ValueError(
            f"{wrong} of {int(here.sum())} labels are not finite; mark these completions as absent "
            "or give them a label"
        )
    return (
        torch.where(here, scores, 0.0),
        torch.where(here, labels.detach(), 0.0).to(scores.dtype),
        here,
    )


def ordered(labels: Tensor, here: Tensor) -> Tensor:
    """Which i stands above which j: ψ_i > ψ_j, both present `[*B, K, K]`."""
    return (labels[..., :, None] > labels[..., None, :]) & here[..., :, None] & here[..., None, :]


def pair_losses(scores: Tensor) -> Tensor:
    """−log σ(s_i − s_j) of all i and j `[*B, K, K]`."""
    return -logsigmoid(scores[..., :, None] - scores[..., None, :])


def all_pairs(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
    weights: Float[Tensor, "*B K K"] | None = None,
) -> Float[Tensor, "*B"]:
    """Every pair as DPO has it: −Σ_{ψ_i>ψ_j} w_ij·log σ(s_i − s_j).

    Of the labels only their order counts. It is a sum: lists with more ordered pairs weigh more.

    Args:
        scores: s `[*B, K]`.
        labels: ψ `[*B, K]`; no gradient flows into them.
        present: Which completions there are `[*B, K]`; None for all.
        weights: w of each pair `[*B, K, K]`; None for 1. No gradient flows into them.

    Returns:
        `[*B]`.

    Raises:
        ValueError: A label is not finite.

    Source: Burges et al., "Learning to Rank using Gradient Descent" (RankNet), 2005; of policies:
        Liu et al., "LiPO", arXiv:2402.01878, 2024.
    """
    s, psi, here = checked(scores, labels, present)
    each = pair_losses(s) if weights is None else weights.detach() * pair_losses(s)
    return torch.where(ordered(psi, here), each, 0.0).sum((-2, -1))


def best_versus_worst(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B"]:
    """One pair of the list: −log σ(s_best − s_worst), a mean over pairs where several tie.

    Args:
        scores: s `[*B, K]`.
        labels: ψ `[*B, K]`; no gradient flows into them.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B]`.

    Raises:
        ValueError: A label is not finite.
    """
    s, psi, here = checked(scores, labels, present)
    top = torch.where(here, psi, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(here, psi, torch.inf).amin(-1, keepdim=True)
    of = ordered(psi, here) & (psi == top)[..., :, None] & (psi == low)[..., None, :]
    total = torch.where(of, pair_losses(s), 0.0).sum((-2, -1))
    return total / of.sum((-2, -1)).clamp(min=1)


def softmax_cross_entropy(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B"]:
    """−Σ_i q_i·log softmax(s)_i, with q_i = ψ_i/Σψ: it is least where softmax(s) = q.

    Unlike the others it sees how far labels are apart, and so where their zero is.

    Args:
        scores: s `[*B, K]`.
        labels: ψ, at least 0 `[*B, K]`; no gradient flows into them.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B]`; 0 where all labels are equal.

    Raises:
        ValueError: A label is not finite or below 0.

    Source: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach" (ListNet),
        2007, with labels for probabilities; of policies: Liu et al., "LiPO", arXiv:2402.01878,
        2024.
    """
    s, psi, here = checked(scores, labels, present)
    if bool((psi < 0).any()):
        raise ValueError(
            f"the smallest label is {float(psi.min())}; the softmax loss reads labels as shares, "
            "so map them to [0, 1] first, as `lambda_loss.unit_labels` does"
        )
    says = ordered(psi, here).flatten(-2).any(-1, keepdim=True)
    share = torch.where(says, psi / torch.where(says, psi.sum(-1, keepdim=True), 1.0), 0.0)
    logp = s - _within(s, here[..., None, :])
    return -torch.where(here, share * logp, 0.0).sum(-1)


def plackett_luce(
    scores: Float[Tensor, "*B K"],
    labels: Float[Tensor, "*B K"],
    *,
    present: Bool[Tensor, "*B K"] | None = None,
) -> Float[Tensor, "*B"]:
    """−log of the Plackett–Luce probability of the labels' order (ListMLE).

        −Σ_i [s_i − log Σ_{j ranked at i or below} e^(s_j)]

    Labels that tie leave their order open, so the probabilities of all orders that the labels allow
    are added up. Two completions that tie then say nothing, as a tied pair should; taking one order
    of them for the true one would push them apart.

    Args:
        scores: s `[*B, K]`.
        labels: ψ `[*B, K]`, of which only the order counts; no gradient flows into them.
        present: Which completions there are `[*B, K]`; None for all.

    Returns:
        `[*B]`.

    Raises:
        ValueError: A label is not finite, or labels tie in lists of more than `MOST` completions.

    Source: Plackett, "The Analysis of Permutations", 1975; Xia et al., "Listwise Approach to
        Learning to Rank" (ListMLE), 2008. Ties: summed here.
    """
    s, psi, here = checked(scores, labels, present)
    both = here[..., :, None] & here[..., None, :]
    K = s.shape[-1]
    same = (psi[..., :, None] == psi[..., None, :]) & both
    if bool((same.sum(-1) > 1).any()):
        if K > MOST:
            raise ValueError(
                f"labels tie in lists of {K} completions, and the orders of at most {MOST} are "
                "summed over; use all_pairs, or shorter lists"
            )
        return -_orders(s, psi, here)
    behind = ordered(psi, here) | (torch.eye(K, dtype=torch.bool, device=s.device) & both)
    return -torch.where(here, s - _within(s, behind), 0.0).sum(-1)


def _within(scores: Tensor, sets: Tensor) -> Tensor:
    """log Σ e^s over the members of some sets `[*B, S]`; 0 where a set is empty.

    Args:
        scores: `[*B, K]`.
        sets: Which completions are in each `[*B, S, K]`.
    """
    low = torch.finfo(scores.dtype).min
    each = torch.where(sets, scores[..., None, :], low)  # no −∞: an empty set would have no slope
    return torch.where(sets.any(-1), each.logsumexp(-1), 0.0)


@functools.lru_cache(maxsize=16)
def _levels(K: int) -> tuple[tuple[Tensor, Tensor], ...]:
    """Subsets of K by size, from 1 to K.

    Returns:
        Of each size, the subsets' members `[S, K]`, and where among the subsets that are smaller by
        one the subset without each member stands `[S, K]`; 0 for what is no member.
    """
    bits = torch.arange(1 << K)
    inside = (bits[:, None] >> torch.arange(K)) & 1 > 0
    size, place = inside.sum(-1), torch.zeros(1 << K, dtype=torch.int64)
    for c in range(K + 1):
        place[size == c] = torch.arange(int((size == c).sum()))
    without = torch.where(inside, place[bits[:, None] & ~(1 << torch.arange(K))], 0)
    return tuple((inside[size == c], without[size == c]) for c in range(1, K + 1))


def _orders(scores: Tensor, labels: Tensor, here: Tensor) -> Tensor:
    """log of the summed Plackett–Luce probability of all orders that the labels allow `[*B]`.

    P(S), the chance that a set S is taken in an order that the labels allow, is
    Σ_{i best in S} e^(s_i)/Σ_S e^s · P(S without i). What is absent counts in no set.
    """
    low = torch.finfo(scores.dtype).min
    found = scores.new_zeros(*scores.shape[:-1], 1)  # the empty set has one order
    for inside, without in _levels(scores.shape[-1]):
        members = inside.to(here.device) & here[..., None, :]
        top = torch.where(members, labels[..., None, :], -torch.inf).amax(-1, keepdim=True)
        first = members & (labels[..., None, :] == top)
        rest = found[..., without.to(here.device)]
        each = scores[..., None, :] - _within(scores, members)[..., None] + rest
        now = torch.where(first, each, low).logsumexp(-1)
        found = torch.where(first.any(-1), now, 0.0)
    return found[..., 0]
