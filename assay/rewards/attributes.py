"""Things a reward should not follow, counted on answers: length, and how often some tokens are
said.
"""

from __future__ import annotations

import re

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.errors import InputError

_TOKENS = re.compile(r"tokens:(\d+)-(\d*)")


def attributes(samples: Samples, names: str) -> Float[Tensor, "B N A"]:
    """Counts of answers, one column a name: "length" (everything in the answer), "tokens:12-59" or
    "tokens:12-" (ids from 12 to 59, or from 12 on). Several are separated by commas. Raises
    InputError for a name that is neither.
    """
    held, out = samples.mask | samples.given, []
    for name in (n.strip() for n in names.split(",")):
        found = _TOKENS.fullmatch(name)
        if name != "length" and not found:
            raise InputError(
                f"--attribute is '{names}', and '{name}' is no attribute; it is length, or "
                "tokens:12-59 for how often tokens of these ids are said, or several with commas "
                "between them"
            )
        if found:
            low, high = int(found[1]), int(found[2] or torch.iinfo(torch.int64).max)
            out.append((held & (samples.action >= low) & (samples.action <= high)).sum(-1))
        else:
            out.append(held.sum(-1))
    return torch.stack(out, -1).to(samples.logp.dtype)


def scaled(samples: Samples, names: str, like: Samples) -> Float[Tensor, "B N A"]:
    """Attributes with mean 0 and deviation 1 over the answers `like`. Raises InputError for one
    that is the same there for all: nothing can be learnt of it.
    """
    known = attributes(like, names)[like.present]
    spread = known.std(0, correction=0)
    flat = (spread == 0).nonzero().flatten().tolist()
    if flat:
        name = names.split(",")[flat[0]].strip()
        raise InputError(
            f"--attribute {name} is {float(known[0, flat[0]]):g} for every answer of these pairs: "
            "give one that varies"
        )
    return (attributes(samples, names) - known.mean(0)) / spread
