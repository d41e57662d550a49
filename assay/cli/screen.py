"""What a person sees: tables, colour only on a terminal, and nothing but results where a program
reads.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PIPED = 10_000  # a width that cuts no line where no terminal has one
_QUIET = False


def quiet(on: bool) -> None:
    """With True, nothing but results and errors is shown."""
    global _QUIET
    _QUIET = on


def is_quiet() -> bool:
    """Whether only results and errors are shown."""
    return _QUIET


@cache
def errors() -> Console:
    """The console on stderr, for progress and notes."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def note(text: str) -> None:
    """A line on stderr that is no result; nothing with --quiet, or in another process than the
    first.
    """
    if not _QUIET and os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()
) -> str:
    """A table as text.

    Args:
        head: The columns' titles.
        rows: The cells.
        numbers: The columns that hold numbers, which stand on the right.

    Returns:
        Lines; with colour and as wide as the terminal where stdout is one, and never cut where it
        is not.
    """
    from rich.console import Console
    from rich.table import Table

    from assay.data.escape import visible

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    terminal = sys.stdout.isatty()
    for i, title in enumerate(head):
        made.add_column(
            title,
            justify="right" if i in numbers else "left",
            no_wrap=not terminal or i == 0,
            style="cyan" if i == 0 else "",
            overflow="fold",
        )
    for row in rows:
        made.add_row(*map(visible, row))  # names in a record are others' text
    out = io.StringIO()
    width = Console().width if terminal else PIPED
    Console(file=out, width=width, force_terminal=terminal, markup=False, highlight=False).print(
        made, markup=False
    )
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def teller(first: bool, as_json: bool) -> Callable[[str], None]:
    """Where lines about a run's progress go.

    Args:
        first: Whether this is the first process; the others are silent.
        as_json: Whether stdout is for JSON, so that lines go to stderr.
    """

    def tell(text: str) -> None:
        if first and not _QUIET:
            print(text, file=sys.stderr if as_json else sys.stdout, flush=True)

    return tell
