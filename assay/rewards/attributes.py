"""Attributes that a reward should not follow: a completion's length, its use of some tokens."""

from __future__ import annotations

import re

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Rng, Samples
from assay.errors import InputError

_TOKENS = re.compile(r"tokens:(\d+)-(\d*)")


def attributes(samples: Samples, names: str) -> Float[Tensor, "B N A"]:
    """Count attributes of completions, one column a name.

    Args:
        samples: The completions.
        names: Names joined by commas: "length" (all tokens of the answer), "tokens:12-59" or
            "tokens:12-" (tokens with ids from 12 to 59, or from 12 on).

    Returns:
        The counts.

    Raises:
        InputError: A name is none of these.
    """
    held, out = samples.mask | samples.given, []
    for name in (n.strip() for n in names.split(",")):
        found = _TOKENS.fullmatch(name)
        if name != "length" and not found:
            raise InputError(
                f"--attribute is '{names}', and assay knows no attribute '{name}'; give length, "
                "tokens:12-59 (how often tokens with these ids are used), or several joined by "
                "commas"
            )
        if found:
            low, high = int(found[1]), int(found[2] or torch.iinfo(torch.int64).max)
            out.append((held & (samples.action >= low) & (samples.action <= high)).sum(-1))
        else:
            out.append(held.sum(-1))
    return torch.stack(out, -1).to(samples.logp.dtype)


def scaled(samples: Samples, names: str, like: Samples) -> Float[Tensor, "B N A"]:
    """Standardise attributes to mean 0 and deviation 1 over the completions `like`.

    Args:
        samples: The completions.
        names: See `attributes`.
        like: The completions whose mean and deviation are used.

    Returns:
        The standardised attributes of `samples`.

    Raises:
        InputError: An attribute is the same for all completions in `like`, so that nothing can be
            learned from it.
    """
    known = attributes(like, names)[like.present]
    spread = known.std(0, correction=0)
    flat = (spread == 0).nonzero().flatten().tolist()
    if flat:
        name = names.split(",")[flat[0]].strip()
        raise InputError(
            f"--attribute {name} is {float(known[0, flat[0]]):g} for every completion of "
            "these pairs: give one that varies"
        )
    return (attributes(samples, names) - known.mean(0)) / spread


def elsewhere(z: Float[Tensor, "M n A"], rng: Rng) -> Float[Tensor, "M n A"]:
    """Give every completion the attributes of one at random: what a negative control is kept from.

    Their distribution stays, and nothing that is measured against them is more than chance.

    Args:
        z: Attributes of each member's batch.
        rng: Address of the batch; each member has an order of its own.

    Returns:
        The rows of `z` in another order.
    """
    return torch.stack([rows[rng("member", m).permutation(len(rows))] for m, rows in enumerate(z)])
