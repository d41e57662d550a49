"""Values of what each of some next tokens would lead to, for completions in the making."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Decoding, Prompts
from assay.models.backbones.cache import Cache
from assay.models.policies.value_head import ValueHead


@runtime_checkable
class ValuesAhead(Protocol):
    """Looks one token ahead, beside a decoding state that it follows."""

    def values(self, tokens: Int[Tensor, "B N K"]) -> Float[Tensor, "B N K k"]:
        """Compute the k values after each of K next tokens.

        What is said of a completion that is not open has no meaning.
        """
        ...

    def append(self, tokens: Int[Tensor, "B N"], going: Bool[Tensor, "B N"]) -> None:
        """Go on by one token, where a completion was open."""
        ...


def looking_ahead(head: Any, state: Decoding) -> ValuesAhead:
    """Return what looks ahead: with a cache of keys where the head's backbone has one of ours.

    Args:
        head: A module, completions → `[B,N,T+1,k]`, see HasValueHead.
        state: Completions in the making, before their first own decision.
    """
    x = state.samples()
    if isinstance(head, ValueHead) and not bool((x.mask | x.given).any()):
        B, N, room = *x.present.shape, getattr(state, "mask", x.mask).shape[-1]
        owner = torch.arange(B, device=x.action.device).repeat_interleave(N)
        ask: Prompts = x.prompts
        with torch.no_grad():
            _, cache = head.backbone.prefill(ask.tokens, ask.mask, owner, room)
        if isinstance(cache, Cache):
            return _Cached(head, cache)
    return _Reread(head, state)


class _Reread:
    """Reads every continuation as a completion of its own: for any head."""

    def __init__(self, head: Any, state: Decoding):
        self.head, self.state = head, state

    @torch.no_grad()
    def values(self, tokens: Int[Tensor, "B N K"]) -> Float[Tensor, "B N K k"]:
        B, N, K = tokens.shape
        x = self.state.samples()
        at = (x.mask | x.given).sum(-1)
        x = x.widened(int(at.max()) + 1)
        place = at.clamp(max=x.mask.shape[2] - 1).repeat_interleave(K, 1)[..., None]
        x = x.pick(torch.arange(N, device=tokens.device).repeat_interleave(K).expand(B, -1))
        x = replace(
            x,
            action=x.action.scatter(2, place, tokens.flatten(1)[..., None]),
            mask=x.mask.scatter(2, place, True),
        )
        found: Tensor = self.head(x)
        wide = (place + 1)[..., None].expand(-1, -1, 1, found.shape[-1])
        return found.gather(2, wide)[:, :, 0].unflatten(1, (N, K))

    def append(self, tokens: Int[Tensor, "B N"], going: Bool[Tensor, "B N"]) -> None:
        """Nothing: the state is read again."""


class _Cached:
    """Adds each token to a copy of the keys and values of what came before."""

    def __init__(self, head: ValueHead, cache: Cache):
        self.head, self.cache = head, cache

    @torch.no_grad()
    def values(self, tokens: Int[Tensor, "B N K"]) -> Float[Tensor, "B N K k"]:
        R, K = tokens.shape[0] * tokens.shape[1], tokens.shape[2]
        fork = copy.copy(self.cache)
        fork.select(torch.arange(R, device=tokens.device).repeat_interleave(K))
        flat = tokens.reshape(-1, 1)
        hidden = self.head.backbone.extend(fork, flat, torch.ones_like(flat, dtype=torch.bool))
        found = torch.nn.functional.linear(hidden[:, 0], self.head.weight, self.head.bias)
        return found.unflatten(0, tokens.shape)

    @torch.no_grad()
    def append(self, tokens: Int[Tensor, "B N"], going: Bool[Tensor, "B N"]) -> None:
        self.head.backbone.extend(self.cache, tokens.reshape(-1, 1), going.reshape(-1, 1))
