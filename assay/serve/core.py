"""Scoring without HTTP: a stack of rewards, their aggregate, its shape, and how far members differ.

An item's score depends on that item alone: nothing is centred on the other completions that a
request or a batch happens to hold. So `worst`, `uncertainty` and `quantile` compare the members'
scores as they are, like `reward_function` does, while `assay score` compares them after each
member's mean over the file's completions of a prompt is taken off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import InputError
from assay.formulas import aggregate as aggregates
from assay.interop.shapes import PLAIN, WITH_REFERENCES, check_shape
from assay.loops.scoring import aggregator
from assay.rewards.text_scorer import TextReward
from assay.serve.item import Item, Score
from assay.serve.rows import Row, row_of, score_rows


@dataclass(frozen=True)
class Stacking:
    """How members' scores become one number.

    Attributes:
        aggregate: mean, worst, uncertainty:0.5 (mean − 0.5·variance) or quantile:0.25.
        shape: none, sigmoid, tanh, polynomial, ceiling; or par, centre, log_sigmoid,
            slow_then_fast, which compare with references.
        references: The column of an item that holds the reference policy's completions (texts, or
            their scores), for the shapes that compare with them.
        slope: A constant of sigmoid, tanh, par and slow_then_fast.
        most: The highest value of ceiling.
        late: A constant of slow_then_fast.
        spread_limit: The spread above which an item counts as out of distribution; None for none.
    """

    aggregate: str = "mean"
    shape: str = "none"
    references: str = ""
    slope: float = 1.0
    most: float = 3.0
    late: float = 3.0
    spread_limit: float | None = None


class Scorer:
    """Scores items by a stack of rewards.

    Args:
        rewards: Open rewards of text; their members are stacked.
        stacking: How their scores become one number.

    Attributes:
        names: The members' names.

    Raises:
        InputError: There is no reward, or no such aggregate or shape.

    Example:
        >>> from assay.rewards.function import FunctionReward
        >>> def lengths(prompts, completions):
        ...     return [len(text) for text in completions]
        >>> length = FunctionReward(lengths, "length")
        >>> Scorer([length]).score([Item("2 + 2?", "four")])[0].value
        4.0
    """

    def __init__(self, rewards: Sequence[TextReward], stacking: Stacking | None = None):
        how = stacking or Stacking()
        if not rewards:
            raise InputError("a reward server needs a reward; it was given none")
        if how.references == "group":
            raise InputError(
                "references is 'group', and a score must not depend on the other completions of a "
                "request; name a column that holds references"
            )
        check_shape(how.shape, how.references, False)
        self.rewards, self.how, self.join = list(rewards), how, aggregator(how.aggregate)
        names = [n for r in rewards for n in r.names]
        self.names = tuple(n if names.count(n) == 1 else f"{n}_{i}" for i, n in enumerate(names))

    def score(self, items: Sequence[Item]) -> list[Score]:
        """Score items.

        Args:
            items: Any number of items.

        Returns:
            One score an item, in the same order. An item that cannot be read or scored has an
            error; the others are scored.
        """
        rows, own, unread = list[Row](), list[int | None](), dict[int, str]()
        for i, item in enumerate(items):
            try:
                row = row_of(item)
                further = self._references(row)
            except InputError as why:
                unread[i] = str(why)
                own.append(None)
                continue
            own.append(len(rows))
            rows += [row, *further]
        found = self._columns(rows, [at for at in own if at is not None])
        none = (None,) * len(self.names)
        return [
            Score(None, none, None, None, unread[i]) if at is None else self._score(at, found)
            for i, at in enumerate(own)
        ]

    def _columns(self, rows: Sequence[Row], own: Sequence[int]) -> _Columns:
        """Score rows.

        Args:
            rows: Each item's row, followed by those of its references.
            own: Where each item's row is.
        """
        each = [score_rows(r, rows) for r in self.rewards]
        scores = torch.cat([one.scores for one in each])
        errors = dict[int, str]()
        for one in reversed(each):  # the first reward's error is the one that is told
            errors |= one.errors
        ends = [*own[1:], len(rows)][: len(own)]
        for at, end in zip(own, ends, strict=True):  # an item fails with its references
            wrong = next((errors[k] for k in range(at, end) if k in errors), None)
            if wrong is not None:
                errors[at] = wrong
        joined = self.join(scores[:, None])[0]
        return _Columns(
            members=scores.T.tolist(),
            spread=aggregates.spread(scores[:, None])[0].tolist(),
            value=self._shaped(joined, rows, own, ends).tolist(),
            errors=errors,
            cut=frozenset[int]().union(*(one.cut for one in each)),
        )

    def _references(self, row: Row) -> list[Row]:
        """The rows of an item's references, where these are texts."""
        found = self._given(row)
        return [Row(row.prompt, x, row.turns, row.columns) for x in found if isinstance(x, str)]

    def _given(self, row: Row) -> Sequence[Any]:
        """An item's references, texts or numbers."""
        name = self.how.references
        if not name:
            return ()
        found = row.columns.get(name)
        texts = isinstance(found, list) and all(isinstance(x, str) for x in found)
        numbers = isinstance(found, list) and all(
            isinstance(x, (int, float)) and not isinstance(x, bool) for x in found
        )
        if not found or not (texts or numbers):
            raise InputError(
                f"the column '{name}' must hold references: a list of completions as texts, or of "
                "their scores"
            )
        return list(found)

    def _score(self, at: int, found: _Columns) -> Score:
        """The score of the item whose row is at a place."""
        members = tuple(None if x != x else x for x in found.members[at])
        value, error, cut = found.value[at], found.errors.get(at, ""), at in found.cut
        if error or None in members:
            return Score(None, members, None, None, error, cut)
        if not math.isfinite(value):
            why = f"the aggregate after the shape is {value}, which is no number for a trainer"
            return Score(None, members, None, None, why, cut)
        spread = found.spread[at] if len(members) > 1 else None
        limit = self.how.spread_limit
        far = None if spread is None or limit is None else spread > limit
        return Score(value, members, spread, far, "", cut)

    def _shaped(
        self, one: Float[Tensor, "R"], rows: Sequence[Row], own: Sequence[int], ends: Sequence[int]
    ) -> Float[Tensor, "R"]:
        """The aggregates after the shape; only those of the items' own rows matter."""
        constants = {"slope": self.how.slope, "most": self.how.most, "late": self.how.late}
        if self.how.shape in PLAIN:
            return PLAIN[self.how.shape](one[None], **constants)[0]
        out = one.clone()
        for at, end in zip(own, ends, strict=True):
            scored = end > at + 1  # else the references are scores already
            refs = one[at + 1 : end] if scored else one.new_tensor(self._given(rows[at]))
            shape = WITH_REFERENCES[self.how.shape]
            out[at] = shape(one[at].view(1, 1), refs=refs[None], **constants)[0, 0]
        return out


@dataclass(frozen=True)
class _Columns:
    """What rows got: lists with one entry a row, and what some rows have."""

    members: list[list[float]]
    spread: list[float]
    value: list[float]
    errors: dict[int, str]
    cut: frozenset[int]
