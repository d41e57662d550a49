"""What a person sees: tables, colour only on a terminal, and nothing but results where a program
reads.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, TextIO, cast

from assay.cli import streams
from assay.engine.clean_stream import STYLE, CleanStream, StyledFile, raw, styled
from assay.safe_text import visible

if TYPE_CHECKING:
    from rich.console import Console

PIPED = 10_000  # a width that cuts no line where no terminal has one
LEAST = 16  # columns that the last column of a table has at least
_QUIET = False


def quiet(on: bool) -> None:
    """With True, nothing but results and errors is shown."""
    global _QUIET
    _QUIET = on


def is_quiet() -> bool:
    """Whether only results and errors are shown."""
    return _QUIET


def errors() -> Console:
    """The console that draws on stderr. What it is given has to be visible text."""
    from rich.console import Console

    return Console(file=raw(sys.stderr), stderr=True, highlight=False, markup=False, emoji=False)


def results() -> Console:
    """The console on stdout. What it is given has to be visible text; styles are its own."""
    from rich.console import Console

    out = StyledFile(sys.stdout) if isinstance(sys.stdout, CleanStream) else sys.stdout
    return Console(file=cast(TextIO, out), highlight=False, markup=False, emoji=False)


def note(text: str) -> None:
    """A line on stderr that is no result; nothing with --quiet, or in another process than the
    first.
    """
    if not _QUIET and os.environ.get("RANK", "0") == "0":
        print(visible(text), file=sys.stderr, flush=True)


def width() -> int:
    """The columns of the terminal; PIPED where stdout is none."""
    from rich.console import Console

    return Console().width if sys.stdout.isatty() else PIPED


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Collection[int] = (),
    indent: int = 0,
) -> str:
    """A table as text.

    Args:
        head: The columns' titles; without any, no line of titles is shown.
        rows: The cells.
        numbers: The columns that hold numbers, which stand on the right.
        indent: Columns to leave free on the left of a terminal.

    Returns:
        Lines; with colour and as wide as the terminal where stdout is one, and never cut where it
        is not. Where a terminal is too narrow for the columns, a row is a block of lines.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    head = [visible(title) for title in head]
    cells = [[visible(c) for c in row] for row in rows]  # names in a record are others' text
    terminal, wide = sys.stdout.isatty(), width() - indent
    needed = [max(map(cell_len, column)) for column in zip(head, *cells, strict=True)]
    if terminal and sum(needed[:-1]) + 2 * (len(head) - 1) + min(needed[-1], LEAST) > wide:
        return _blocks(head, cells, wide)
    made = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
        show_header=any(head),
    )
    for i, title in enumerate(head):
        made.add_column(
            title,
            justify="right" if i in numbers else "left",
            no_wrap=not terminal or i == 0,
            style="cyan" if i == 0 else "",
            overflow="fold",
        )
    for row in cells:
        made.add_row(*row)
    out = io.StringIO()
    Console(
        file=out, width=wide, force_terminal=terminal, markup=False, highlight=False, emoji=False
    ).print(made)
    lines = styled(out.getvalue()).split("\n")[:-1]
    return "\n".join(" " * indent + line.rstrip() for line in lines)


def _blocks(head: Sequence[str], rows: Sequence[Sequence[str]], wide: int) -> str:
    """Rows one under another, for a narrow terminal: the first cell, then the others beneath it."""
    import textwrap

    lines: list[str] = []
    for first, *rest in rows:
        lines.append(heading(first))
        for title, cell in zip(head[1:], rest, strict=True):
            text = f"{title}: {cell}" if title and cell else cell
            lines += textwrap.wrap(
                text, max(wide, LEAST), initial_indent="  ", subsequent_indent="    "
            )
    return "\n".join(lines)


def heading(text: str) -> str:
    """A heading, bold where stdout is a terminal that shows it."""
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    if plain or not sys.stdout.isatty():
        return text
    return f"{STYLE}[1m{visible(text)}{STYLE}[0m"


def wrapped(text: str, indent: int = 0) -> str:
    """Paragraphs as wide as the terminal; indented lines, and all lines where there is none, stay
    as they are.

    Args:
        text: The paragraphs.
        indent: Columns to leave free on the left.
    """
    import textwrap

    left = " " * indent
    if not sys.stdout.isatty():
        return textwrap.indent(text, left)
    blocks = []
    for block in text.split("\n\n"):
        plain = not any(line.startswith((" ", "|")) for line in block.splitlines())
        flat = textwrap.fill(" ".join(block.split()), min(100, width()) - indent)
        blocks.append(textwrap.indent(flat if plain else block, left))
    return "\n\n".join(blocks)


def hung(text: str) -> str:
    """Lines folded between words at the terminal's width, what follows indented; short lines stay
    as they are.
    """
    import shutil
    import textwrap

    wide = max(LEAST, shutil.get_terminal_size().columns)

    def one(line: str) -> str:
        if len(line) <= wide:
            return line
        left = " " * min(len(line) - len(line.lstrip()) + 2, wide // 2)
        return textwrap.fill(line, wide, subsequent_indent=left, break_on_hyphens=False)

    return "\n".join(map(one, text.split("\n")))


def teller(first: bool, as_json: bool) -> Callable[[str], None]:
    """Where lines about a run's progress go.

    Args:
        first: Whether this is the first process; the others are silent.
        as_json: Whether stdout is for JSON, so that lines go to stderr.
    """

    def tell(text: str) -> None:
        if first and not _QUIET:
            stream = sys.stderr if as_json else sys.stdout
            shown = visible(text)
            try:
                print(hung(shown) if stream.isatty() else shown, file=stream, flush=True)
            except BrokenPipeError:  # what was asked for is the folder, not the lines
                streams.unread(stream)
                if stream is sys.stdout:
                    note("nobody reads the lines any more; the run goes on")

    return tell
