"""How uncertain a policy was at each decision of completions that it has already made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assay.core import Decodes, InputError, Rng, Samples, require


@torch.no_grad()
def entropies(policy: Any, x: Samples, *, by: str) -> Tensor:
    """Entropy of the policy's next decision before each decision, in nats.

    H_t = −Σ_v π(v | what came before t)·log π(v | …)

    The completions are decoded again with their own actions, so that any policy that decodes can be
    asked; it costs what drawing them cost.

    Args:
        policy: Of the whole distribution, truncation included.
        x: Completions without given parts.
        by: Who asks, for the message: a recipe's name.

    Returns:
        `[B,N,T]`, 0 where `x.mask` is False; no gradient.

    Raises:
        InputError: The policy does not decode, or a completion holds what it did not choose.
    """
    if bool(x.given.any()):
        raise InputError(
            f"{by} asks how uncertain the policy was at each token, and these completions hold "
            "text that it did not write; use completions of one turn"
        )
    state = require(policy, Decodes, by).decoding(x.prompts, x.mask.shape[1], Rng(0))
    found = torch.zeros_like(x.logp)
    for t in range(x.mask.shape[2]):
        here = x.mask[..., t]
        if not bool(here.any()):
            break
        logp = state.next_logprobs()
        each = torch.where(logp > -torch.inf, logp.exp() * logp, 0.0).sum(-1)
        found[..., t] = torch.where(here, -each, 0.0).to(found)
        state.append(torch.where(here, x.action[..., t], 0))
    return found
