"""The only file that says how a loss becomes one number: each function turns a mask into weights,
and the loss is Σ w·loss.

Weights are computed on the whole batch (or the whole minibatch), so that a split into micro-batches
changes nothing. They are float64, 0 behind the mask, and all 0 where nothing is present: never 0/0.
An answer is present here if it has a decision of its own. Papers fight over the choice; it is an
argument of `descend`, in sight of the recipe's reader.
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


def per_answer(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Sum over an answer's decisions, mean over the present answers: w = 1/#answers.

    The only one of the four under which a policy-gradient loss is the gradient of E[reward] (RLOO,
    BNPO; the sequence log-probability is a sum).
    """
    return _share(mask, mask.any(-1).sum())


def per_token(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Mean over all decisions of the batch: w = 1/#decisions (DAPO). Long answers weigh more."""
    return _share(mask, mask.sum())


def per_answer_token(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N T"]:
    """Mean over the present answers of the mean over their decisions: w = 1/(#answers · length)
    (GRPO).

    A long wrong answer is punished less for each decision than a short one, so wrong answers grow
    (Dr. GRPO's point).
    """
    return _share(mask, mask.any(-1).sum() * mask.sum(-1, keepdim=True))


def constant_length(mask: Bool[Tensor, "B N T"], *, length: int) -> Float[Tensor, "B N T"]:
    """Sum over decisions divided by one constant: w = 1/(#answers · length) for every answer (Dr.
    GRPO, L_max).
    """
    if length < 1:
        raise ValueError(f"length is {length}; the constant of constant_length must be at least 1")
    return _share(mask, mask.any(-1).sum() * length)


def per_pair(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B"]:
    """Mean over pairs (or ranked lists) none of whose answers is absent: w = 1/#pairs."""
    whole = mask.any(-1).all(-1)
    return _share(whole, whole.sum())


def per_answer_once(mask: Bool[Tensor, "B N T"]) -> Float[Tensor, "B N"]:
    """Mean over the present answers, for losses with one term an answer: w = 1/#answers."""
    present = mask.any(-1)
    return _share(present, present.sum())
