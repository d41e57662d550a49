"""Votes among completions of a prompt: each answer has the sum of what its completions score."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def answer_totals(
    score: Float[Tensor, "*S N"], answer: Int[Tensor, "*S N"], present: Bool[Tensor, "*S N"]
) -> Float[Tensor, "*S N"]:
    """Sum of the scores of the completions that give the same answer: Σ_j 1[a_j = a_i]·s_j.

    Scores of 1 count the majority's votes.

    Args:
        score: s of each completion `[*S, N]`.
        answer: Number of its answer `[*S, N]`.
        present: Completions that are there `[*S, N]`.

    Returns:
        `[*S, N]`; −∞ for completions that are not there.

    Source: Jiang et al., arXiv:2501.12051v2, 2025, PRM-guided vote-sum.
    """
    same = answer[..., :, None] == answer[..., None, :]
    total = (same * score.masked_fill(~present, 0.0)[..., None, :]).sum(-1)
    return total.masked_fill(~present, -torch.inf)


def elected(
    score: Float[Tensor, "*S N"], answer: Int[Tensor, "*S N"], present: Bool[Tensor, "*S N"]
) -> Int[Tensor, "*S"]:
    """Place of the best-scored completion of the answer with the largest total.

    Answers that tie are told apart by their best completion; the first of equal ones is taken.

    Args:
        score: s of each completion `[*S, N]`.
        answer: Number of its answer `[*S, N]`.
        present: Completions that are there `[*S, N]`.

    Returns:
        `[*S]`.

    Source: released code of MedS³, arXiv:2501.12051, `prm-min-vote-sum`.
    """
    total = answer_totals(score, answer, present)
    # sums of the same numbers in another order differ by rounding
    best = total >= total.amax(-1, keepdim=True) - 1e-6
    return score.masked_fill(~(best & present), -torch.inf).argmax(-1)


def least_step(q: Float[Tensor, "*S T"], here: Bool[Tensor, "*S T"]) -> Float[Tensor, "*S"]:
    """A completion is worth what its worst step is: min_t q_t, 0 without steps.

    Args:
        q: Chance of a right end after each step `[*S, T]`.
        here: Which steps there are `[*S, T]`.

    Returns:
        `[*S]`.

    Source: released code of MedS³, arXiv:2501.12051, `prm-min-vote-sum`.
    """
    least = q.masked_fill(~here, torch.inf).amin(-1)
    return torch.where(here.any(-1), least, torch.zeros_like(least))
