"""Prompts, completions and labeled pairs: what the parts of the library hand to one another.

Axes: B prompts, N completions a prompt, T decisions a completion, P prompt tokens. Completions are
stored as tokens and decoded; prompts may know the text that they were made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core.prompt_texts import PromptTexts
from assay.engine.checkpoint import RECORDS
from assay.engine.parallel import gather
from assay.errors import InputError, Missing

R = TypeVar("R", bound="Rows")
# of each decision `[B,N,T]`, in `extra`: what an engine reported, and how it is corrected for
SAMPLER_LOGP, IMPORTANCE, CLIPPED = "sampler_logp", "importance_weight", "importance_clipped"
REFERENCE_LOGP = "reference_logp"
DESIRABLE = "desirable"  # the probability that a completion is, `[B,N]` in `extra`
_EACH = (SAMPLER_LOGP, IMPORTANCE, CLIPPED, REFERENCE_LOGP)  # have a value for each decision


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
        """Return some rows, of every tensor."""
        return self._each(lambda t: t[rows.to(t.device) if isinstance(rows, Tensor) else rows])

    def to(self: R, device: torch.device | str) -> R:
        """Return the same on another device."""
        return self._each(lambda t: t.to(device))


@dataclass(frozen=True)
class Prompts(Rows):
    """B prompts, padded on the left so that a completion begins right after the last column.

    Attributes:
        tokens: Token ids.
        mask: False at padding.
        row: Which of the task's prompts each is, for per-prompt columns and state.
        extra: Per-row tensors `[B,…]`, such as a condition or reward weights.
        decode: Token ids to text, shared by all rows; None where the world has no words. Where it
            is a `PromptTexts`, prompts read as in the file that they come from.
    """

    tokens: Int[Tensor, "B P"]
    mask: Bool[Tensor, "B P"]
    row: Int[Tensor, "B"]
    extra: dict[str, Tensor] = field(default_factory=dict)
    decode: Callable[[list[int]], str] | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def text(self) -> list[str]:
        """Each prompt as everybody who judges reads it: its file's text, else its decoded tokens.

        Raises:
            Missing: The world has no words (a table).
        """
        if self.decode is None:
            raise Missing("these prompts have no text: their world has no tokenizer")
        if isinstance(self.decode, PromptTexts):
            return [self.decode.texts[r] for r in self.row.tolist()]
        return [self.decode(t[m].tolist()) for t, m in zip(self.tokens, self.mask, strict=True)]


@dataclass(frozen=True)
class Samples(Rows):
    """N completions of each of B prompts.

    Absent completions and decisions are False in the masks, never a special token.

    Attributes:
        prompts: The B prompts.
        action: `[B,N,T,…]`; int64 for tokens.
        mask: The policy's own decisions: tokens (the end token included), denoising steps, turns.
        given: In the completion but not the policy's choice: tool text, a shared prefix.
        logp: Under the policy that drew the completion, fixed at drawing time; 0 where `mask` is
            False, NaN where it is not known.
        ended: The completion ended by itself; it was not truncated.
        extra: `{name: [B,N,…]}`. "weight" `[B,N]`, where present, weighs a prompt's completions
            (particles, best-of-n pools); it sums to 1. Where an engine generated for a policy in
            training, SAMPLER_LOGP are its log-probabilities, IMPORTANCE the weights that correct
            the loss for them, and CLIPPED says which of these are not the plain ratio. What the
            reference says of each decision, where it was read, is REFERENCE_LOGP.
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
        """Whether a completion is there: it holds anything at all."""
        return (self.mask | self.given).any(-1)

    @property
    def lengths(self) -> Int[Tensor, "B N"]:
        """Own decisions of each completion."""
        return self.mask.sum(-1)

    @property
    def weight(self) -> Float[Tensor, "B N"]:
        """Weights of a prompt's completions, summing to 1; equal unless `extra` says otherwise."""
        if "weight" in self.extra:
            return self.extra["weight"]
        here = self.present.to(self.logp.dtype)
        return here / here.sum(-1, keepdim=True).clamp(min=1)

    def text(self) -> list[list[str]]:
        """Decode each completion, its given parts included.

        Raises:
            Missing: The world has no words (a table).
        """
        decode = self.prompts.decode
        if decode is None:
            raise Missing("these completions have no text: their world has no tokenizer")
        keep = self.mask | self.given
        return [
            [decode(a[k].tolist()) for a, k in zip(ab, kb, strict=True)]
            for ab, kb in zip(self.action, keep, strict=True)
        ]

    def pick(self: S, index: Int[Tensor, "B K"]) -> S:
        """Return K of each prompt's N completions, by their place in N."""

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
        """Pad on the right to T decisions."""
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
            extra={k: wide(v) if k in _EACH else v for k, v in self.extra.items()},
        )

    def gathered(self: S, prompts: Prompts) -> S:
        """Join the processes' shares of rows, in order.

        Args:
            prompts: The whole batch's.
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
    """Labeled comparisons: Samples with N = 2, the preferred completion first.

    Ranked lists are the same with N = K, best first.

    Attributes:
        p: `[B]`, the probability that the first is truly better; 1 for a plain label.
        margin: `[B]`, how much better in reward units; 0 where unknown, never NaN.

    Raises:
        InputError: `p` or `margin` has another shape.
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
    """Join batches of Samples (or Pairs) along B.

    Args:
        parts: At least one batch. Prompts are padded on the left and completions on the right, to
            the longest.
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
