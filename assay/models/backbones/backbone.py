"""What a language-model policy asks of its backbone, and how completions are read by one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError


@runtime_checkable
class Backbone(Protocol):
    """A causal model, an nn.Module: four calls and the width of its hidden states.

    Attributes:
        width: Of a hidden state.
    """

    width: int

    def hidden_states(
        self, prompt: Tensor, prompt_keep: Tensor, completion: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the hidden states of prompts and completions, without a cache.

        Args:
            prompt: Token ids, `[B,P]`, padded on the left.
            prompt_keep: The prompts' kept tokens, `[B,P]`.
            completion: Token ids, `[B,N,T]`.
            keep: The completions' kept tokens, `[B,N,T]`; the others are not seen.

        Returns:
            The packed hidden states `[n,W]` of all kept tokens, and `[B,N,T+1]`: the one that a
            completion's decision t = 0 … T follows.
        """
        ...

    def prefill(self, prompt: Tensor, keep: Tensor, owner: Tensor, room: int) -> tuple[Tensor, Any]:
        """Compute prompts once and begin R completions of them, without gradient.

        Args:
            prompt: Token ids, `[B,P]`, padded on the left.
            keep: The prompts' kept tokens, `[B,P]`.
            owner: The prompt of each completion, `[R]`: row r of the cache belongs to prompt
                `owner[r]`.
            room: Columns that will follow the prompt; memory may be reserved for them.

        Returns:
            The prompts' last hidden states `[B,W]`, and a cache for R completions.
        """
        ...

    def extend(self, cache: Any, tokens: Tensor, keep: Tensor) -> Tensor:
        """Add S columns to every row of a cache, in place and without gradient.

        Args:
            cache: From `prefill`.
            tokens: Token ids, `[R,S]`.
            keep: The tokens that a row keeps, `[R,S]`; no later token sees the others.

        Returns:
            The hidden states there, `[R,S,W]`.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return unnormalised log-probabilities of the next token."""
        ...


def like(backbone: Any) -> Tensor:
    """Return a tensor of the dtype and on the device that a backbone computes with.

    A base without an adapter has no weight of its own and says whose it computes with.
    """
    out: Tensor = backbone.like if hasattr(backbone, "like") else next(backbone.parameters())
    return out


def read(
    backbone: Any, samples: Samples, keep: Bool[Tensor, "B N T"]
) -> tuple[Float[Tensor, "n W"], Int[Tensor, "B N T1"]]:
    """Return the hidden states of completions, see Backbone.hidden_states.

    Args:
        backbone: Any Backbone.
        samples: Prompts and completions.
        keep: The tokens to read.
    """
    prompts = checked(samples.prompts)
    out: tuple[Tensor, Tensor] = backbone.hidden_states(
        prompts.tokens, prompts.mask, samples.action, keep
    )
    return out


def tokens_read(samples: Samples) -> Bool[Tensor, "B N T"]:
    """Say which tokens decisions are made from: what follows the last own one has no say."""
    later = samples.mask.flip(-1).cummax(-1).values.flip(-1).roll(-1, -1)
    later[..., -1] = False
    return (samples.mask | samples.given) & later


def checked(prompts: Prompts) -> Prompts:
    """Return the prompts, if each holds a token and is padded on its left.

    Raises:
        InputError: A prompt is empty or padded on its right.
    """
    bad = ~prompts.mask[:, -1]
    if bool(bad.any()):
        raise InputError(
            f"prompt {int(prompts.row[bad][0])} is empty or padded on its right: "
            "a prompt holds a token and is padded on its left"
        )
    return prompts
