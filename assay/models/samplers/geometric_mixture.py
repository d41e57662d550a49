"""Completions of the geometric mixture of two policies, mixed at every token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from assay.core import Decodes, Prompts, Samples, require
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.games import log_geometric_mixture
from assay.models.samplers.categorical import inverse_cdf


class GeometricMixture:
    """A Sampler whose next token has log-probability ∝ (1 − w)·log π + w·log μ.

    Both policies decode the same completion side by side, so they need one vocabulary. Of
    completions of one decision it is the exact mixture of the two policies. Of longer ones it is
    not, because every decision is normalised by itself; it is what Nash-MD samples.

    Args:
        policy: π, which decodes token by token.
        reference: μ, which does so too.
        weight: w, the reference's share, in (0, 1).

    Raises:
        InputError: A policy does not decode token by token.
    """

    def __init__(self, policy: Any, reference: Any, *, weight: float):
        self.policy = require(policy, Decodes, "a geometric mixture")
        self.reference = require(reference, Decodes, "a geometric mixture")
        self.weight = weight

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw by the inverse distribution function at u(row, completion, decision).

        See Sampler.sample; `logp` is the mixture's.
        """
        with torch.no_grad():
            mine = self.policy.decoding(prompts, n, rng, start)
            theirs = self.reference.decoding(prompts, n, rng, start)
            places: list[tuple[Tensor, Tensor, Tensor]] = []
            before = mine.samples()
            place = (before.mask | before.given).sum(-1)
            b, k = (torch.arange(size, device=place.device) for size in place.shape)
            while bool((going := mine.open.clone()).any()):  # a view that appending changes
                ours, others = mine.next_logprobs(), theirs.next_logprobs()
                if ours.shape != others.shape:
                    raise InputError(
                        f"a geometric mixture needs one vocabulary: one policy has "
                        f"{ours.shape[-1]} tokens, the other {others.shape[-1]}"
                    )
                mixed = log_geometric_mixture(ours, others, weight=self.weight)
                u = rng.uniform(b[:, None], k[None, :], place, dtype=torch.float64)
                token = inverse_cdf(mixed, u)
                logp = mixed.gather(-1, token[..., None])[..., 0]
                places.append((going, place, logp))
                mine.append(token)
                theirs.append(token)
                place = place + going
            x = mine.samples()
            for going, at, logp in places:
                i, j = going.nonzero(as_tuple=True)
                x.logp[i, j, at[i, j]] = logp[i, j].to(x.logp)
            return x


def between(policy: Any, reference: Any, *, weight: float) -> Any:
    """Return what samples the mixture: one of the two where the other has no weight.

    Args:
        policy: π.
        reference: μ.
        weight: The reference's share.

    Raises:
        InputError: The weight is no share, or a policy cannot decode token by token.
    """
    if not 0 <= weight <= 1:
        raise InputError(f"--mixture is {weight}; the reference's share lies from 0 to 1")
    if weight in (0, 1):
        return reference if weight else policy
    return GeometricMixture(policy, reference, weight=weight)
