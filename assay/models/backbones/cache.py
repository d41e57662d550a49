"""Keys and values of completions in the making."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.models.backbones.attention import Config, Plan, attend, blind, causal

# a product of fewer multiplications in a batch of them goes through torch's plain loops, not
# through MKL
_SMALL = 400


class Cache:
    """Keys and values of R completions, preallocated; a column that a row does not use is masked.

    Args:
        c: The backbone's sizes.
        rows: Completions.
        room: Columns.
        weights: What the backbone needs at each step, laid out once.
        like: A tensor of the dtype and on the device of the cache.
    """

    def __init__(self, c: Config, rows: int, room: int, weights: Any, like: Tensor):
        self.least = -(-_SMALL // c.head)
        room = max(room, self.least)
        self.k, self.v = (
            [like.new_empty(rows, c.kv_heads, room, c.head) for _ in range(c.layers)]
            for _ in range(2)
        )
        for t in (*self.k, *self.v):
            t[:, :, : self.least] = 0.0  # read, at weight 0, before they are written
        self.bias = like.new_full((rows, room), -torch.inf)
        self.length = torch.zeros(rows, dtype=torch.int64, device=like.device)
        self.used, self.weights = 0, weights
        self.lean: Any = None
        self.turns: Tensor | None = None

    def put(self, i: int, k: Float[Tensor, "R S K d"], v: Float[Tensor, "R S K d"]) -> None:
        """Write layer i's keys and values of the next columns.

        Args:
            i: The layer, from 0.
            k: Keys of S new columns, `[R,S,K,d]`.
            v: Their values, `[R,S,K,d]`.
        """
        to = slice(self.used, self.used + k.shape[1])
        self.k[i][:, :, to], self.v[i][:, :, to] = k.transpose(1, 2), v.transpose(1, 2)

    def advance(self, keep: Bool[Tensor, "R S"]) -> None:
        """Count the columns just written, for the rows that keep them."""
        self.bias[:, self.used : self.used + keep.shape[1]] = blind(keep, self.bias.dtype)
        self.used += keep.shape[1]
        self.length += keep.sum(-1)

    def plan(self, keep: Bool[Tensor, "R S"]) -> Plan:
        """Return the plan of new columns.

        They see what each row keeps of the old ones, and of the new ones those up to themselves.
        """
        R, S = keep.shape
        wide = max(self.used + S, self.least)
        old = self.bias[:, None, : self.used].expand(R, S, self.used)
        after = self.bias[:, None, self.used + S : wide].expand(R, S, -1)
        bias = torch.cat([old, blind(causal(keep), self.bias.dtype), after], -1)

        def plan(i: int, qk: Tensor, v: Tensor) -> Tensor:
            qk, v = (t.view(R, S, *t.shape[1:]) for t in (qk, v))
            q, k = qk.split([qk.shape[2] - v.shape[2], v.shape[2]], 2)
            self.put(i, k, v)
            k, v = (t[:, :, :wide].transpose(1, 2) for t in (self.k[i], self.v[i]))
            return attend(q, k, v, bias).flatten(0, 1)

        return plan

    def select(self, rows: Int[Tensor, "r"]) -> None:
        """Keep these rows, in this order; a row may be taken twice."""
        self.k, self.v = (
            [k.index_select(0, rows) for k in self.k],
            [v.index_select(0, rows) for v in self.v],
        )
        self.bias, self.length = self.bias[rows], self.length[rows]

    def reserve(self, more: int) -> None:
        """Make room for more columns."""
        if self.used + more > self.bias.shape[1]:
            extra = more + self.bias.shape[1]
            self.k, self.v = (
                [F.pad(t, (0, 0, 0, extra)) for t in each] for each in (self.k, self.v)
            )
            self.bias = F.pad(self.bias, (0, extra), value=-torch.inf)
