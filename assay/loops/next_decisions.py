"""A policy's distribution of the next decision, before each decision that it has already made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.core import Decodes, InputError, Rng, Samples, require


@torch.no_grad()
def next_decisions(policy: Any, x: Samples, *, by: str) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Decode completions again with their own actions, and yield what the policy would do next.

    Any policy that decodes can be asked. It costs what drawing the completions cost.

    Args:
        policy: Of the whole distribution, truncation included.
        x: Completions without given parts.
        by: Who asks, for the message: a recipe's name.

    Yields:
        The place t, which completions have a decision there `[B,N]`, and log π of every choice
        `[B,N,V]`, which says nothing where a completion has none.

    Raises:
        InputError: The policy does not decode, or a completion holds what it did not choose.
    """
    if bool(x.given.any()):
        raise InputError(
            f"{by} asks how uncertain the policy was at each token, and these completions hold "
            "text that it did not write; use completions of one turn"
        )
    state = require(policy, Decodes, by).decoding(x.prompts, x.mask.shape[1], Rng(0))
    for t in range(x.mask.shape[2]):
        here = x.mask[..., t]
        if not bool(here.any()):
            break
        yield t, here, state.next_logprobs()
        state.append(torch.where(here, x.action[..., t], 0))
