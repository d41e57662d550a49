"""Prompts, answers and labeled pairs: what every part of the house passes to every other.

Axes: B prompts, N answers a prompt, T decisions an answer, P prompt tokens. Text is never stored,
it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.engine.checkpoint import RECORDS
from assay.engine.parallel import gather
from assay.errors import InputError, Missing

R = TypeVar("R", bound="Rows")


class Rows:
    """Frozen records whose tensors share a first axis B: indexed, gathered and moved together."""

    def _each(self: R, f: Callable[[Tensor], Tensor]) -> R:
        def go(v: Any) -> Any:
            if isinstance(v, Tensor):
                return f(v)
            if isinstance(v, Rows):
                return v._each(f)
            return {k: go(u) for k, u in v.items()} if isinstance(v, dict) else v

        return replace(self, **{f_.name: go(getattr(self, f_.name)) for f_ in fields(self)})  # type: ignore[arg-type,type-var]

    def __getitem__(self: R, rows: Tensor | slice) -> R:
        return self._each(lambda t: t[rows.to(t.device) if isinstance(rows, Tensor) else rows])

    def to(self: R, device: torch.device | str) -> R:
        return self._each(lambda t: t.to(device))


@dataclass(frozen=True)
class Prompts(Rows):
    """B prompts, left-padded so that an answer begins right after the last column.

    `row`: which of the task's prompts this is (for per-prompt columns and state). `extra`: per-row
    tensors `[B,…]` (a condition, reward weights). `decode`: token ids to text, shared by all rows.
    """

    tokens: Int[Tensor, "B P"]
    mask: Bool[Tensor, "B P"]
    row: Int[Tensor, "B"]
    extra: dict[str, Tensor] = field(default_factory=dict)
    decode: Callable[[list[int]], str] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def text(self) -> list[str]:
        """Each prompt as text; raises Missing where the world has no words (a table)."""
        if self.decode is None:
            raise Missing("these prompts have no text: their world has no tokenizer")
        return [self.decode(t[m].tolist()) for t, m in zip(self.tokens, self.mask, strict=True)]


@dataclass(frozen=True)
class Samples(Rows):
    """N answers to each of B prompts; absent answers and decisions are False in the masks, never a
    special token.

    `mask`: the policy's own decisions (tokens, the end token included; denoising steps; turns).
    `given`: in the answer but not the policy's choice (tool text, a shared prefix). `logp`: under
    the policy that drew it, fixed at drawing time, 0 where mask is False, NaN where nobody knows.
    `ended`: it ended by itself (not truncated). `extra["weight"] [B,N]`, where present, weighs the
    answers of a prompt (particles, best-of-n pools); it sums to 1.
    """

    prompts: Prompts
    action: Tensor  # [B,N,T,…]; int64 for tokens
    mask: Bool[Tensor, "B N T"]
    given: Bool[Tensor, "B N T"]
    logp: Float[Tensor, "B N T"]
    ended: Bool[Tensor, "B N"]
    extra: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def present(self) -> Bool[Tensor, "B N"]:
        """An answer is present if it holds anything at all."""
        return (self.mask | self.given).any(-1)

    @property
    def lengths(self) -> Int[Tensor, "B N"]:
        """Own decisions an answer."""
        return self.mask.sum(-1)

    @property
    def weight(self) -> Float[Tensor, "B N"]:
        """Weights of a prompt's answers, summing to 1: `extra["weight"]`, or equal over those
        present.
        """
        if "weight" in self.extra:
            return self.extra["weight"]
        here = self.present.to(self.logp.dtype)
        return here / here.sum(-1, keepdim=True).clamp(min=1)

    def text(self) -> list[list[str]]:
        """Each answer as text, its given parts included."""
        decode = self.prompts.decode
        if decode is None:
            raise Missing("these answers have no text: their world has no tokenizer")
        keep = self.mask | self.given
        return [
            [decode(a[k].tolist()) for a, k in zip(ab, kb, strict=True)]
            for ab, kb in zip(self.action, keep, strict=True)
        ]

    def pick(self: S, index: Int[Tensor, "B K"]) -> S:
        """K of each prompt's N answers, by their place in N."""

        def take(t: Tensor) -> Tensor:
            i = (
                index.to(t.device)
                .reshape(*index.shape, *[1] * (t.dim() - 2))
                .expand(*index.shape, *t.shape[2:])
            )
            return t.gather(1, i)

        own = {
            f.name: take(getattr(self, f.name))
            for f in fields(Samples)
            if f.name not in ("prompts", "extra")
        }
        return replace(self, **own, extra={k: take(v) for k, v in self.extra.items()})  # type: ignore[arg-type]

    def widened(self: S, T: int) -> S:
        """Padded on the right to T decisions."""
        more = T - self.mask.shape[2]
        if more <= 0:
            return self

        def wide(t: Tensor) -> Tensor:
            return torch.cat([t, t.new_zeros(*t.shape[:2], more, *t.shape[3:])], 2)

        return replace(
            self,
            action=wide(self.action),
            mask=wide(self.mask),
            given=wide(self.given),
            logp=wide(self.logp),
        )

    def gathered(self: S, prompts: Prompts) -> S:
        """The processes' shares of rows put together again, in order; `prompts` are the whole
        batch's.
        """
        parts = {
            f.name: gather(getattr(self, f.name))
            for f in fields(Samples)
            if f.name not in ("prompts", "extra")
        }
        return replace(
            self, prompts=prompts, **parts, extra={k: gather(v) for k, v in self.extra.items()}
        )


S = TypeVar("S", bound=Samples)


@dataclass(frozen=True)
class Pairs(Samples):
    """Labelled comparisons: Samples with N = 2, the preferred answer first (ranked lists: N = K,
    best first).

    `p [B]`: probability that the first is truly better (1 for a plain label). `margin [B]`: how
    much better, in reward units, NaN-free; 0 where nobody said.
    """

    p: Tensor = field(default_factory=lambda: torch.ones(0))
    margin: Tensor = field(default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        B = self.mask.shape[0]
        if self.p.shape != (B,) or self.margin.shape != (B,):
            raise InputError(
                f"pairs need p and margin of shape [{B}], got {list(self.p.shape)} and "
                f"{list(self.margin.shape)}"
            )


def cat(parts: Iterable[S]) -> S:
    """Batches of Samples (or Pairs) one after another along B; prompts are left-padded and answers
    right-padded alike.
    """
    parts = list(parts)
    T = max(x.mask.shape[2] for x in parts)
    P = max(x.prompts.tokens.shape[1] for x in parts)
    parts = [x.widened(T) for x in parts]

    def left(t: Tensor) -> Tensor:
        return torch.cat([t.new_zeros(t.shape[0], P - t.shape[1]), t], 1)

    ps = [x.prompts for x in parts]
    prompts = replace(
        ps[0],
        tokens=torch.cat([left(p.tokens) for p in ps]),
        mask=torch.cat([left(p.mask) for p in ps]),
        row=torch.cat([p.row for p in ps]),
        extra={k: torch.cat([p.extra[k] for p in ps]) for k in ps[0].extra},
    )
    own = {
        f.name: torch.cat([getattr(x, f.name) for x in parts])
        for f in fields(parts[0])
        if f.name not in ("prompts", "extra")
    }
    return replace(
        parts[0],
        prompts=prompts,
        **own,
        extra={k: torch.cat([x.extra[k] for x in parts]) for k in parts[0].extra},
    )


RECORDS.update(Prompts=Prompts, Samples=Samples, Pairs=Pairs)
