"""Keys and values of completions in the making, a prompt's held once for all of its completions.

A decoder that keeps a row of keys for each completion reads, and as it grows copies, every prompt
once for each completion and token. Here a step's queries are laid out by prompt, meet its keys
together, and meet their own completions' keys row by row; one softmax is over both.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.models.backbones.packed_groups import PackedGroups

_ROOM = 32  # columns of completions that are reserved at first; then twice as many as before


class GroupPast:
    """The cache of R completions of B prompts.

    `reading` fills it, and `select` lays its rows out: both come before the first `columns`.

    Args:
        prompt: The prompts' kept tokens.
        owner: The prompt of each completion.

    Attributes:
        owner: `[R]`, the prompt of each completion among those that still have one.
        length: `[R]`, tokens of each row, its prompt's among them.
    """

    def __init__(self, prompt: Bool[Tensor, "B P"], owner: Int[Tensor, "R"]):
        self.ask, self.owner = prompt, owner
        self.asked = (prompt.long().cumsum(-1) - 1).clamp(min=0)
        self.length = prompt.long().sum(-1)[owner]
        self.prompts: list[tuple[Tensor, Tensor]] = []  # a layer's keys and values, [B,K,P,d]
        self.own: list[tuple[Tensor, Tensor]] = []  # likewise of completions, [R,K,room,d]
        self.used = 0  # columns of completions
        self.added: Any = None  # weights with an adapter's change, see Adapted
        self.keep = prompt.new_zeros(len(owner), 0)  # [R,used]
        self.places = self.asked.new_zeros(len(owner), 0)  # [R,used]
        # prompts that no row follows go with the first `select`, after all of them were computed

    def _group(self) -> None:
        """Lay completions out by prompt; prompts that have none left go."""
        left, self.owner = self.owner.unique(return_inverse=True)
        if len(left) < len(self.ask):
            self.ask, self.asked = self.ask[left], self.asked[left]
            self.prompts = [(k[left], v[left]) for k, v in self.prompts]
        count = torch.bincount(self.owner, minlength=len(left))
        order = self.owner.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device)
        self._wide = int(count.max()) if len(count) else 0
        # where each row lies among B·wide places, and which row lies in each place
        self._at = self.owner * self._wide + rank - (count.cumsum(0) - count)[self.owner]
        self._row = order.new_zeros(len(left) * self._wide)
        self._row[self._at] = torch.arange(len(order), device=order.device)

    def select(self, rows: Int[Tensor, "r"]) -> None:
        """Keep these rows, in this order; a row may be taken twice."""
        self.own = [(k[rows], v[rows]) for k, v in self.own]
        self.owner, self.length = self.owner[rows], self.length[rows]
        self.keep, self.places = self.keep[rows], self.places[rows]
        self._group()

    def reading(self, groups: PackedGroups) -> Reading:
        """The attention of a pass over the prompts alone, which fills this cache."""
        return Reading(self, groups)

    def columns(self, keep: Bool[Tensor, "R S"]) -> Columns:
        """The attention of a pass over S new columns, which are appended.

        Args:
            keep: The tokens that a row keeps; no later token sees the others.
        """
        places = self.length[:, None] + (keep.long().cumsum(-1) - 1).clamp(min=0)
        self.keep = torch.cat([self.keep, keep], -1)
        self.places = torch.cat([self.places, places], -1)
        self.length = self.length + keep.sum(-1)
        self.used += keep.shape[1]
        return Columns(self, keep.shape[1])

    def grouped(self, t: Float[Tensor, "R *d"]) -> Float[Tensor, "B M *d"]:
        """Lay rows out by prompt; places that no row takes hold any."""
        return t.index_select(0, self._row).unflatten(0, (len(self.ask), self._wide))

    def rows(self, t: Float[Tensor, "B M *d"]) -> Float[Tensor, "R *d"]:
        """Undo `grouped`."""
        return t.flatten(0, 1).index_select(0, self._at)


class Reading:
    """Attention of prompts that keeps their keys and values, layer after layer."""

    def __init__(self, past: GroupPast, groups: PackedGroups):
        self.past, self.groups = past, groups

    def __call__(
        self,
        q: Float[Tensor, "n H d"],
        k: Float[Tensor, "n K d"],
        v: Float[Tensor, "n K e"],
        **how: float | None,
    ) -> Float[Tensor, "n H e"]:
        """See PackedGroups."""
        kept = tuple(self.groups.prompts(t).transpose(1, 2) for t in (k, v))
        self.past.prompts.append((kept[0], kept[1]))
        return self.groups(q, k, v, **how)  # type: ignore[arg-type]


class Columns:
    """Attention of S new columns of every row, layer after layer."""

    def __init__(self, past: GroupPast, new: int):
        self.past, self.new, self.layer = past, new, 0
        self._blinds: dict[int | None, Tensor] = {}

    def __call__(
        self,
        q: Float[Tensor, "n H d"],
        k: Float[Tensor, "n K d"],
        v: Float[Tensor, "n K e"],
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Float[Tensor, "n H e"]:
        """Append the keys and values, and attend; n = R·S. See PackedGroups."""
        past, S, i = self.past, self.new, self.layer
        self.layer += 1
        R, (H, K) = len(past.owner), (q.shape[1], k.shape[1])
        own_k, own_v = self._appended(i, k.view(R, S, K, -1), v.view(R, S, K, -1))
        kp, vp = past.prompts[i]
        # scores in float32 at least, as torch's own attention has them within
        wide = torch.promote_types(q.dtype, torch.float32)
        asks = (q * scale).to(wide).view(R, S, K, H // K, -1).permute(0, 2, 3, 1, 4).flatten(2, 3)
        before = past.rows(self._by_group(asks, kp.to(wide).mT))
        after = asks @ own_k.to(wide).mT
        scores = torch.cat([before, after], -1).unflatten(2, (-1, S))  # [R,K,G,S,P+t]
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        blind = self._blind(window)
        weight = scores.masked_fill(blind[:, None, None], -torch.inf).softmax(-1).flatten(2, 3)
        P = kp.shape[2]
        out = past.rows(self._by_group(weight[..., :P], vp.to(wide)))
        out = out + weight[..., P:] @ own_v.to(wide)
        return out.unflatten(2, (-1, S)).permute(0, 3, 1, 2, 4).reshape(R * S, H, -1).to(q.dtype)

    def _by_group(
        self, t: Float[Tensor, "R K s a"], by: Float[Tensor, "B K a b"]
    ) -> Float[Tensor, "B M K s b"]:
        """Multiply each row by what belongs to its prompt."""
        rows = self.past.grouped(t).transpose(1, 2)  # [B,K,M,s,a]
        return (rows.flatten(2, 3) @ by).unflatten(2, rows.shape[2:4]).transpose(1, 2)

    def _appended(
        self, i: int, k: Float[Tensor, "R S K d"], v: Float[Tensor, "R S K e"]
    ) -> tuple[Float[Tensor, "R K t d"], Float[Tensor, "R K t e"]]:
        """Write a layer's new keys and values; return all of its completions'."""
        past, first, t = self.past, self.past.used - self.new, self.past.used
        if i == len(past.own):
            empty = tuple(x.new_empty(len(x), x.shape[2], 0, x.shape[3]) for x in (k, v))
            past.own.append((empty[0], empty[1]))
        held = past.own[i]
        if held[0].shape[2] < t:
            room = max(_ROOM, 2 * held[0].shape[2], t) - held[0].shape[2]
            more = (x.new_zeros(*x.shape[:2], room, x.shape[3]) for x in held)
            grown = tuple(torch.cat([x, y], 2) for x, y in zip(held, more, strict=True))
            held = past.own[i] = grown[0], grown[1]
        for x, new in zip(held, (k, v), strict=True):
            x[:, :, first:t] = new.transpose(1, 2)
        return held[0][:, :, :t], held[1][:, :, :t]

    def _blind(self, window: int | None) -> Bool[Tensor, "R S L"]:
        """What each new token does not see of its prompt and of its own row."""
        past, S, first = self.past, self.new, self.past.used - self.new
        if window not in self._blinds:
            at = past.places[:, first:, None]
            key = torch.cat([past.asked[past.owner], past.places], -1)[:, None]
            kept = torch.cat([past.ask[past.owner], past.keep], -1)[:, None]
            see = kept & (key <= at)
            if window is not None:
                see = see & (at - key < window)
            new = torch.arange(S, device=see.device)
            # a token that is not kept sees itself, so that no softmax is empty
            see[:, new, past.ask.shape[1] + first + new] = True
            self._blinds[window] = ~see
        return self._blinds[window]
