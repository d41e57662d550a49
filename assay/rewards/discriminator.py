"""r(x, reference, candidate): whether a completion looks as if the reference's policy wrote it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Pairs, Rng, Samples
from assay.errors import InputError

# in prompts.extra: a row's reference completions [B,R,T], and which of their tokens are there
TOKENS, HELD = "reference", "reference_held"


def beside(samples: Samples, references: Samples) -> Samples:
    """Put R reference completions to the same prompt beside each completion.

    A discriminator reads them there.

    Args:
        samples: The completions.
        references: The references, one row for each row of completions.

    Returns:
        The completions, with the references in their prompts.

    Raises:
        InputError: There are not as many rows of references as of completions.
    """
    if len(references) != len(samples):
        raise InputError(
            f"there are {len(references)} rows of references and {len(samples)} rows of "
            "completions; give one for each"
        )
    extra = {
        **samples.prompts.extra,
        TOKENS: references.action,
        HELD: references.mask | references.given,
    }
    return replace(samples, prompts=replace(samples.prompts, extra=extra))


def triples(references: Samples, chosen: Samples, rejected: Samples) -> Pairs:
    """Make pairs whose prompts carry a reference.

    Args:
        references: The references.
        chosen: The preferred completion of each row.
        rejected: The other completion of each row.

    Returns:
        The pairs, chosen first.
    """
    T = max(x.mask.shape[2] for x in (chosen, rejected))
    a, b = chosen.widened(T), rejected.widened(T)
    both: dict[str, Any] = {
        f: torch.cat([getattr(a, f), getattr(b, f)], 1)
        for f in ("action", "mask", "given", "logp", "ended")
    }
    return Pairs(
        beside(chosen, references).prompts, **both, p=torch.ones(len(a)), margin=torch.zeros(len(a))
    )


class Discriminator(nn.Module):
    """h(reference)ᵀ·A·h(candidate) + vᵀ·h(candidate), h a layer of tanh on counts of words.

    It is the mean over a row's references. It reads how often words are used, not their order.
    Reference and candidate cannot be exchanged. A starts at the identity, so that before training
    it measures similarity in h, a blurred count of shared words.

    Args:
        vocabulary: The number of tokens.
        width: The width of h.
        rng: The address of the first weights.
    """

    members = 1

    def __init__(self, vocabulary: int, width: int, rng: Rng):
        super().__init__()
        self.vocabulary = vocabulary
        drawn = rng("read").normal(torch.arange(vocabulary)[:, None], torch.arange(width))
        self.read, self.match = (
            nn.Parameter(drawn / math.sqrt(vocabulary)),
            nn.Parameter(torch.eye(width)),
        )
        self.alone = nn.Parameter(torch.zeros(width))

    def _hidden(self, tokens: Tensor, held: Tensor) -> Tensor:
        counts = self.read.new_zeros(*tokens.shape[:2], self.vocabulary).scatter_add(
            2, tokens, held.to(self.read.dtype)
        )
        return torch.tanh(counts @ self.read)

    def forward(self, samples: Samples | Sequence[Samples]) -> Float[Tensor, "1 B N"]:
        x = samples if isinstance(samples, Samples) else samples[0]
        if TOKENS not in x.prompts.extra:
            raise InputError(
                "a policy discriminator needs a reference completion beside each prompt, and these "
                "prompts have none; give them with discriminator.beside"
            )
        there = x.prompts.extra[HELD]
        known = there.any(-1).to(self.read.dtype)
        like = self._hidden(x.prompts.extra[TOKENS], there) @ self.match
        mean = (like * known[..., None]).sum(1) / known.sum(1).clamp(min=1)[:, None]
        own = self._hidden(x.action, x.mask | x.given)
        return torch.einsum("bh,bnh->bn", mean + self.alone, own)[None]

    def freeze(self, names: tuple[str, ...]) -> Imitation:
        """Return the discriminator as a reward of completions with references beside them."""
        return Imitation(copy.deepcopy(self), names)


class Imitation:
    """A frozen discriminator as a reward.

    Args:
        model: The discriminator.
        names: The member's name.
        references: Reference completions by prompt row: with them it scores any completions to
            those prompts.
    """

    partial = False

    def __init__(
        self, model: Discriminator, names: tuple[str, ...], references: Samples | None = None
    ):
        self.model, self.names, self.references = (
            model.requires_grad_(False),
            tuple(names),
            references,
        )

    def against(self, references: Samples) -> Imitation:
        """Return the reward of looking like these completions; row i belongs to prompt row i."""
        return Imitation(self.model, self.names, references)

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        x = (
            samples
            if self.references is None
            else beside(samples, self.references[samples.prompts.row])
        )
        with torch.no_grad():
            return self.model(x).to(samples.logp)
