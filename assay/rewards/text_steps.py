"""The steps of a text: its lines."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Samples
from assay.errors import Missing


def lines(samples: Samples) -> Int[Tensor, "B N T"]:
    """Return the line that each token belongs to, from 0; −1 where there is no token.

    A line ends with the token that has its line break, and the next begins with the first token
    that writes something: empty lines are none, and what ends a completion belongs to its last
    line. A token that holds the end of one line and the beginning of another belongs to the first.

    Args:
        samples: Completions that can be decoded.

    Raises:
        Missing: They have no text.
    """
    decode = samples.prompts.decode
    if decode is None:
        raise Missing("these completions have no text, so no lines that could be steps")
    action, mask = samples.action.tolist(), samples.mask.tolist()
    said: dict[int, tuple[bool, bool]] = {}  # token → writes something, has a line break
    out = torch.full(samples.mask.shape, -1, dtype=torch.int64)
    for b, (rows, masks) in enumerate(zip(action, mask, strict=True)):
        for n, (row, here) in enumerate(zip(rows, masks, strict=True)):
            line, ended, begun = 0, False, False
            for t in (t for t, own in enumerate(here) if own):
                if row[t] not in said:
                    text = decode([row[t]])
                    said[row[t]] = bool(text.strip()), "\n" in text
                writes, breaks = said[row[t]]
                if writes and ended:
                    line, ended = line + 1, False
                begun = begun or writes
                ended = ended or (breaks and begun)
                out[b, n, t] = line
    return out.to(samples.mask.device)
