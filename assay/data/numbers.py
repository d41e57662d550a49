"""Cells as numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def number(value: Any) -> float | None:
    """A cell as a number, also if it is a truth value or text that spells one; None otherwise."""
    if isinstance(value, bool | int | float | Decimal):  # databases write decimals to Parquet
        try:
            return float(value)
        except (OverflowError, ValueError):
            return None
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("true", "false"):
            return float(text == "true")
        try:
            return float(text)
        except ValueError:
            return None
    return None


def is_truth(value: Any) -> bool:
    """Whether a cell is true or false, or text that spells one of them."""
    return isinstance(value, bool) or (
        isinstance(value, str) and value.strip().lower() in ("true", "false")
    )


def plain(x: float) -> str:
    """A number as it is typed: 1 for 1.0."""
    return f"{x:g}"
