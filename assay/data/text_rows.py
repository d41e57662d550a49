"""Rows of text files: JSON lines, a JSON array, CSV, TSV and plain lines, gzipped or not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from assay.data.arrays import Elements, Repeated, unrepeated
from assay.data.faults import Faults, clipped
from assay.data.unpacked import BROKEN, LONGEST, UNPACK, TooMuch, lines, opened
from assay.errors import InputError

Row = dict[str, Any]
Rows = Callable[[Faults], Iterator[tuple[int, Row]]]
SAVE = "save it as UTF-8"
SPLIT = "write one row a line, each as an object"
_SAID = {"\t": "tab", ";": "semicolon", "|": "bar"}


def beginning(path: Path, packed: bool) -> bytes:
    """The first 64 KiB of a file, unpacked if it is gzipped."""
    try:
        with opened(path, packed) as f:
            return f.read(65536)
    except BROKEN as why:
        raise InputError(f"{path} is a damaged gzip file ({why}); fetch or pack it again") from why


def json_lines(path: Path, packed: bool) -> Rows:
    """Rows of JSON lines; `packed`: gzipped."""

    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        for i, text in _lines(path, packed, faults):
            try:
                row = json.loads(text, object_pairs_hook=unrepeated)
            except Repeated as why:
                faults.error(
                    "repeated key",
                    i,
                    None,
                    str(why),
                    "keep one of them, or leave such rows out with --drop",
                )
                continue
            except (ValueError, RecursionError) as why:
                at = f" at character {why.pos + 1}" if isinstance(why, json.JSONDecodeError) else ""
                what = why.msg if isinstance(why, json.JSONDecodeError) else str(why)[:80]
                faults.error(
                    "bad JSON",
                    i,
                    None,
                    f"not JSON{at}: {what}, in {clipped(text.strip(), 40)}",
                    "repair or delete the line",
                )
                continue
            if isinstance(row, dict):
                yield i, row
            else:
                faults.error(
                    "bad JSON",
                    i,
                    None,
                    f"a {type(row).__name__} where an object {{…}} was expected",
                    "write one object a line",
                )

    return rows


def _lines(path: Path, packed: bool, faults: Faults) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are not blank."""
    with opened(path, packed) as f:
        i = 0
        try:
            for i, raw in enumerate(lines(f), 1):
                if i == 1 and raw.startswith(b"\xef\xbb\xbf"):
                    raw = raw[3:]
                    faults.warn(
                        "byte-order mark",
                        1,
                        None,
                        "the file begins with a byte-order mark, which was skipped",
                        "save it as UTF-8 without one",
                    )
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError as why:
                    faults.error(
                        "not UTF-8",
                        i,
                        None,
                        f"byte {why.start + 1} is {raw[why.start]:#04x}, which is not UTF-8",
                        SAVE,
                    )
                    continue
                if text.strip():
                    yield i, text
        except TooMuch as why:
            too_much(faults, i + 1, why)
        except BROKEN as why:
            faults.error(
                "damaged gzip",
                i + 1,
                None,
                f"the packed data ends or breaks here ({why})",
                "fetch or pack the file again",
            )


def plain_lines(path: Path, packed: bool, *, header: bool) -> Rows:
    """Rows of plain text, a prompt a line; blank lines are no rows.

    Args:
        path: The file, in UTF-8.
        packed: Whether it is gzipped.
        header: Whether its first line that is not blank names the column.
    """

    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        every = _lines(path, packed, faults)
        if header:
            next(every, None)
        for i, text in every:
            yield i, {"prompt": text.strip()}

    return rows


def json_array(path: Path, packed: bool) -> Rows:
    """Rows of a JSON array of objects; `packed`: gzipped."""

    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        with opened(path, packed) as f:
            every = Elements(f)
            try:
                for i, row in enumerate(every, 1):
                    if isinstance(row, dict):
                        yield i, row
                    else:
                        faults.error(
                            "bad JSON",
                            i,
                            None,
                            f"a {type(row).__name__} where an object {{…}} was expected",
                            "make it an object",
                        )
            except TooMuch as why:
                too_much(faults, every.line, why)
            except (ValueError, RecursionError, *BROKEN) as why:
                faults.error(
                    "bad JSON",
                    every.line,
                    None,
                    f"the array cannot be read ({str(why)[:100]})",
                    "repair it, or write one object a line",
                )

    return rows


def table(path: Path, packed: bool, delimiter: str) -> Rows:
    """Rows of CSV or TSV, whose first line names the columns.

    Args:
        path: The file, in UTF-8.
        packed: Whether it is gzipped.
        delimiter: What parts the cells, such as a comma.
    """

    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        csv.field_size_limit(LONGEST)
        with (
            opened(path, packed) as f,
            io.TextIOWrapper(f, encoding="utf-8-sig", newline="", errors="surrogateescape") as text,
        ):
            reader = csv.reader(lines(text), delimiter=delimiter, strict=True)
            header: list[str] = []
            try:
                for cells in reader:
                    if not cells:
                        continue
                    if not header:
                        header = [c.strip() for c in cells]
                        if len(set(header)) < len(header):
                            faults.error(
                                "bad header",
                                reader.line_num,
                                None,
                                f"a column appears twice in {', '.join(header)}",
                                "name every column once",
                            )
                            return
                        continue
                    if len(cells) != len(header):
                        faults.error(
                            "ragged row",
                            reader.line_num,
                            None,
                            f"{len(cells)} cells under {len(header)} columns",
                            f"quote cells that hold a {_SAID.get(delimiter, 'comma')} "
                            "or a line end",
                        )
                        continue
                    row = dict(zip(header, cells, strict=True))
                    bad = next((h for h, c in row.items() if not c.isascii() and _escaped(c)), None)
                    if bad is not None:
                        faults.error(
                            "not UTF-8", reader.line_num, bad, "bytes that are not UTF-8", SAVE
                        )
                        continue
                    yield reader.line_num, row
            except TooMuch as why:
                too_much(faults, reader.line_num + 1, why)
            except csv.Error as why:
                faults.error(
                    "bad CSV",
                    reader.line_num,
                    None,
                    f"the line cannot be read ({why})",
                    "check its quotes",
                )
            except BROKEN as why:
                faults.error(
                    "damaged gzip",
                    reader.line_num + 1,
                    None,
                    f"the packed data breaks here ({why})",
                    "pack the file again",
                )

    return rows


def too_much(faults: Faults, line: int, why: TooMuch) -> None:
    """Count a file that asks for more than it may, and is not read further.

    Args:
        faults: Its faults.
        line: Where it does.
        why: What it asks for.
    """
    faults.error("too much", line, None, str(why), UNPACK if "unpacks" in str(why) else SPLIT)


def _escaped(text: str) -> bool:
    """Whether some of it was no UTF-8: such bytes are lone surrogates now."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
