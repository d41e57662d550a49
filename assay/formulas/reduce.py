"""How a loss becomes one number, Σ w·loss: each function turns a mask into weights w.

Weights are computed on the whole batch (or minibatch), so that splitting it into micro-batches
changes nothing. They are float64, 0 where masked, and all 0 if nothing is present. A completion is
present if it has a decision of its own. The choice is an argument of `descend`, visible in the
recipe.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def _share(of: Tensor, total: Tensor) -> Tensor:
    """`of` / `total`, and 0 where the total is 0."""
    return torch.where(
        total > 0, of.double() / total.clamp(min=1).double(), of.new_zeros((), dtype=torch.float64)
    )


def per_completion(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Sum over a completion's decisions, mean over completions: w = 1/#completions.

    It is the only one whose policy-gradient loss has the gradient of E[reward], since
    the log-probability of a sequence is a sum (RLOO).

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B, N, T]`.
    """
    return _share(mask, mask.any(-1).sum())


def per_token(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Mean over all decisions of the batch: w = 1/#decisions. Long completions have more weight.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B, N, T]`.

    Source: Yu et al., "DAPO", arXiv:2503.14476, 2025.
    """
    return _share(mask, mask.sum())


def per_completion_token(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Mean over decisions, then mean over completions: w = 1/(#completions·length).

    A long wrong completion is punished less for each decision than a short one, so that wrong
    completions grow.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B, N, T]`.

    Source: Shao et al. (GRPO), arXiv:2402.03300, 2024; Liu et al. (Dr. GRPO), arXiv:2503.20783,
        2025.
    """
    return _share(mask, mask.any(-1).sum() * mask.sum(-1, keepdim=True))


def per_prompt_token(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Mean over decisions, over a prompt's completions, and over prompts.

    w = 1/(#prompts·#its completions·length). With as many completions a prompt it is
    `per_completion_token`; where the numbers differ, every prompt weighs the same.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B, N, T]`.

    Source: Li et al., "Knapsack RL", arXiv:2509.25849, 2025.
    """
    present = mask.any(-1)
    its = present.sum(-1)[:, None, None]
    return _share(mask, present.any(-1).sum() * its * mask.sum(-1, keepdim=True))


def constant_length(mask: Bool[Tensor, "B N T"], *, length: int) -> Float[Tensor, "B N T"]:
    """Sum over decisions divided by one constant: w = 1/(#completions·L).

    Args:
        mask: `[B, N, T]`.
        length: L, at least 1.

    Returns:
        w `[B, N, T]`.

    Raises:
        ValueError: length is below 1.

    Source: Liu et al. (Dr. GRPO), arXiv:2503.20783, 2025.
    """
    if length < 1:
        raise ValueError(f"length is {length}; the constant of constant_length must be at least 1")
    return _share(mask, mask.any(-1).sum() * length)


def per_pair(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B"]:
    """Mean over pairs (or ranked lists) without an absent completion: w = 1/#pairs.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B]`.
    """
    whole = mask.any(-1).all(-1)
    return _share(whole, whole.sum())


def per_list(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B"]:
    """Mean over ranked lists of which at least two completions are present: w = 1/#lists.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B]`.
    """
    several = mask.any(-1).sum(-1) > 1
    return _share(several, several.sum())


def per_completion_once(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
    """Mean over completions, for losses with one term a completion: w = 1/#completions.

    Args:
        mask: `[B, N, T]`.

    Returns:
        w `[B, N]`.
    """
    present = mask.any(-1)
    return _share(present, present.sum())
