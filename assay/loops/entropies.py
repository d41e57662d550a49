"""How uncertain a policy was at each decision of completions that it has already made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assay.core import Samples
from assay.loops.next_decisions import next_decisions


def entropies(policy: Any, x: Samples, *, by: str) -> Tensor:
    """Entropy of the policy's next decision before each decision, in nats.

    H_t = −Σ_v π(v | what came before t)·log π(v | …)

    It costs what drawing the completions cost, see `next_decisions`.

    Args:
        policy: Of the whole distribution, truncation included.
        x: Completions without given parts.
        by: Who asks, for the message: a recipe's name.

    Returns:
        `[B,N,T]`, 0 where `x.mask` is False; no gradient.

    Raises:
        InputError: The policy does not decode, or a completion holds what it did not choose.
    """
    found = torch.zeros_like(x.logp)
    for t, here, logp in next_decisions(policy, x, by=by):
        each = torch.where(logp > -torch.inf, logp.exp() * logp, 0.0).sum(-1)
        found[..., t] = torch.where(here, -each, 0.0).to(found)
    return found
