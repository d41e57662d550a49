"""A table as data: what stands in its cells and how it looks, for a template to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.records.methods import Method
from assay.report.vega import COLOURS


@dataclass
class Cell:
    """One cell.

    Attributes:
        text: What it says.
        colour: The number of the method's colour, for a dot before the text.
        small: A second, smaller line.
        sure: Whether the small line stands out, or the text where there is none.
        beside: Small words after the text.
        state: A badge after it, for a run that is not done.
        code: Whether the text is set as code.
    """

    text: str
    colour: int | None = None
    small: str = ""
    sure: bool = False
    beside: str = ""
    state: str = ""
    code: bool = False


@dataclass
class Table:
    """A table. The first cell of a row is the row's header.

    Attributes:
        caption: What it holds.
        head: The columns' names.
        rows: Cells, or plain texts.
        note: What a reader must know of it.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    note: str = ""


def named(m: Method, *, state: str = "", beside: str = "") -> Cell:
    """A method's label with its colour.

    Args:
        m: The method.
        state: A badge after the label, "" for none.
        beside: Small words after the label, "" for none.
    """
    return Cell(m.label, m.place % COLOURS, state=state, beside=beside)
