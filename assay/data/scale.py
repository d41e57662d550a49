"""How a label column is read: a value becomes a probability or a score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

DROPPED = "left out by --label-map"
Vote = tuple[float | None, str]  # (its number, what is counted beside it); (None, "") is unknown


@dataclass(frozen=True)
class Scale:
    """How a file's label column is read.

    Attributes:
        column: The column.
        says: How it is read, in words.
        read: (cell, row) → the number, and the kind of warning that is counted with it.
    """

    column: str
    says: str
    read: Callable[[Any, Mapping[str, Any]], Vote]
