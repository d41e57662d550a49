"""Scores of several reward models on one scale."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.errors import InputError


def standardised(
    scores: Float[Tensor, "M B N"],
) -> tuple[Float[Tensor, "M P N"], Bool[Tensor, "P N"], int]:
    """Put the scores of several reward models on one scale, within prompts.

    (s − m_b)/σ with the prompt's mean m_b and σ² the mean over prompts of the variance within a
    prompt, each reward model's own. A completion counts if every reward model scored it, a prompt
    if it has two of these.

    Args:
        scores: `[M, B, N]` of N completions of B prompts by M reward models, NaN where absent.

    Returns:
        `[M, P, N]` for the P prompts that count, 0 where absent; which completions count `[P, N]`;
        and how many completions some reward models scored and some did not.

    Raises:
        InputError: A score is infinite, no prompt counts, or a reward model gives all completions
            of each prompt one score.

    Example:
        >>> z, present, left_out = standardised(torch.tensor([[[1.0, 3.0, torch.nan]]]))
        >>> z.tolist(), present.tolist(), left_out
        ([[[-0.7071067811865475, 0.7071067811865475, 0.0]]], [[True, True, False]], 0)
    """
    x = scores.double()
    if bool(torch.isinf(x).any()):
        m, b, n = (int(i) for i in torch.isinf(x).nonzero()[0])
        raise InputError(
            f"reward model {m} scores completion {n} of prompt {b} {float(x[m, b, n])}; mend the "
            "reward model, or leave the completion out as NaN"
        )
    known = ~torch.isnan(x)
    present = known.all(0)
    left_out = int((known.any(0) & ~present).sum())
    enough = present.sum(-1) > 1
    if not bool(enough.any()):
        raise InputError(
            "no prompt has two completions that every reward model scored; sample several "
            "completions a prompt"
        )
    x, present = x[:, enough], present[enough]
    count = present.sum(-1)
    x = torch.where(present, x, 0.0)
    x = torch.where(present, x - (x.sum(-1) / count)[..., None], 0.0)
    scale = (x.square().sum(-1) / (count - 1)).mean(-1).sqrt()
    # the mean of equal scores is off by rounding, and so is their deviation
    flat = scale <= 1e-12 * scores.double().abs().nan_to_num().amax((1, 2))
    if bool(flat.any()):
        raise InputError(
            f"reward model {int(flat.nonzero()[0])} gives all completions of each prompt the same "
            "score, so it cannot choose; leave it out"
        )
    return x / scale[:, None, None], present, left_out
