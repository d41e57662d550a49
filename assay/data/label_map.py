"""`--label-map`: what the values of a label column stand for, as the user says it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from assay.data.faults import clipped
from assay.data.numbers import is_truth, number, plain
from assay.errors import InputError

Key = float | str
SIDES = {"first": 1.0, "second": 0.0, "tie": 0.5}
NULL = "null"  # the key of an empty cell


def key(value: Any) -> Key:
    """A value of a label column as the map looks it up: numbers by size, text without case.

    Example:
        >>> key("1.0"), key(1), key(" Tie "), key(None)
        (1.0, 1.0, 'tie', 'null')
    """
    x = number(value)
    if x is not None and math.isfinite(x):
        return x
    if value is None or value == "":
        return NULL
    return str(value).strip().lower()


@dataclass(frozen=True)
class LabelMap:
    """Values and what they stand for.

    Attributes:
        values: By value: the probability that the first completion is better, or a score; None for
            rows that are left out.
        words: The values as they are typed.
    """

    values: Mapping[Key, float | None]
    words: Mapping[Key, str]

    def __iter__(self) -> Iterator[tuple[str, float | None]]:
        return ((self.words[k], x) for k, x in self.values.items())

    def __contains__(self, value: Any) -> bool:
        return key(value) in self.values

    def __getitem__(self, value: Any) -> float | None:
        return self.values[key(value)]

    def says(self, first: str, second: str) -> str:
        """The map in words.

        Args:
            first: The column of the first completion.
            second: The column of the second completion.
        """
        words = {1.0: f"{first} is better", 0.0: second, 0.5: "tie", None: "left out"}
        return ", ".join(f"{value} = {words.get(p, f'p {p}')}" for value, p in self)

    @property
    def numeric(self) -> bool:
        """Whether it names a number."""
        return any(isinstance(k, float) for k in self.values)


def label_map(given: Mapping[Any, Any] | None, *, scores: bool = False) -> LabelMap | None:
    """Check a map of labels.

    Args:
        given: What each value stands for: "first", "second", "tie", "drop" or the probability that
            the first completion is better. For scores: a number, or "drop".
        scores: Whether the values stand for scores.

    Returns:
        The map; None where none is given.

    Raises:
        InputError: A value stands for something else, or two values are the same.

    Example:
        >>> label_map({1: "first", "0": "second"}).values
        {1.0: 1.0, 0.0: 0.0}
    """
    if not given:
        return None
    out: dict[Key, float | None] = {}
    for value, meaning in given.items():
        k, text = key(value), f"--label-map {value}={meaning}"
        if k in out:
            raise InputError(f"{text}: '{value}' is given twice; give each value once")
        out[k] = _scored(meaning, text) if scores else _side(meaning, text)
    return LabelMap(out, {key(value): _typed(value) for value in given})


def _typed(value: Any) -> str:
    x = key(value)
    return plain(x) if isinstance(x, float) and not is_truth(value) else str(value).strip().lower()


def _side(meaning: Any, text: str) -> float | None:
    word, x = str(meaning).strip().lower(), number(meaning)
    if word == "drop":
        return None
    if word in SIDES:
        return SIDES[word]
    if x is None or isinstance(meaning, bool) or not 0 <= x <= 1:
        raise InputError(
            f"{text}: {clipped(meaning)} is none of first, second, tie and drop, and no "
            "probability from 0 to 1 that the first completion is better"
        )
    return x


def _scored(meaning: Any, text: str) -> float | None:
    if str(meaning).strip().lower() == "drop":
        return None
    x = number(meaning)
    if x is None or not math.isfinite(x):
        raise InputError(
            f"{text}: {clipped(meaning)} is no number; the file holds scored responses, so each "
            "value stands for a score, or for drop"
        )
    return x
