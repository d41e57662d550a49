"""Small files of two completions and a verdict, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from assay import data
from assay.errors import InputError

AB, NUMBERED = ("response_a", "response_b"), ("response_1", "response_2")


def rows(
    names: tuple[str, str], column: str, values: Sequence[Any], **more: Any
) -> list[dict[str, Any]]:
    return [
        {"prompt": f"q{i}", names[0]: "one", names[1]: "two", column: v, **more}
        for i, v in enumerate(values)
    ]


def scan(some: list[dict[str, Any]], **options: Any) -> data.Scan:
    return data.scan_file(data.in_memory(some, "file"), keep=True, **options)


def first_wins(some: list[dict[str, Any]], **options: Any) -> list[float]:
    """The probability that the first completion is better, by row."""
    found = scan(some, **options)
    assert not found.faults.errors, found.faults.shown
    return [round(x.p if x.chosen == "one" else 1 - x.p, 6) for x in found.items]


def asked(some: list[dict[str, Any]], **options: Any) -> str:
    """The question about an ambiguous file."""
    with pytest.raises(InputError) as why:
        scan(some, **options)
    return str(why.value)


def typed(text: str) -> dict[str, str]:
    """A map as the command line reads it."""
    return dict(pair.split("=") for pair in text.split(","))
