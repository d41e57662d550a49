"""Rows out of files: JSON lines (gzipped too), a JSON array, CSV, TSV, Parquet, a saved `datasets`
folder, a hub name.

The format is found out from the first bytes, not from the name. Rows are streamed. Nothing is
executed or unpickled: a saved folder is read as the Arrow files it holds, and a hub dataset is
never trusted with code.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.data.arrays import Elements
from assay.data.faults import Faults, clipped
from assay.data.folders import folder_rows, hub_rows, parquet_rows
from assay.errors import InputError

Row = dict[str, Any]
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
SUFFIXES = (
    ".jsonl",
    ".json",
    ".ndjson",
    ".csv",
    ".tsv",
    ".txt",
    ".gz",
    ".parquet",
    ".arrow",
    ".py",
)  # a file's, no hub name's
_SAVE = "save it as UTF-8"


@dataclass
class Source:
    """A file whose format is known. `rows(faults)` streams (row number, row); damaged rows are
    faults and left out.
    """

    name: str
    format: str
    line: bool  # rows are lines
    rows: Callable[[Faults], Iterator[tuple[int, Row]]]
    path: Path | None = None


def open_source(path: str | Path, *, split: str | None = None) -> Source:
    """Find out what `path` is. Raises InputError, one sentence, where it is nothing that can be
    read.
    """
    p, name = Path(path).expanduser(), str(path)
    if p.is_dir():
        return Source(name, "datasets folder", False, folder_rows(p, split), p)
    if not p.exists():
        if (
            name.count("/") == 1
            and not name.startswith((".", "/", "~"))
            and p.suffix.lower() not in SUFFIXES
        ):
            return Source(name, "hub dataset", False, hub_rows(name, split))
        near = (
            sorted(x.name for x in p.parent.iterdir() if x.is_file())[:6]
            if p.parent.is_dir()
            else []
        )
        beside = f"; beside it there are {', '.join(near)}" if near else ""
        raise InputError(
            f"{name} does not exist{beside}; give a file, a folder that `datasets` saved, or a "
            "hub name like owner/name"
        )
    if not p.is_file():
        raise InputError(
            f"{name} is neither a file nor a folder; give JSON lines, CSV, TSV, Parquet or a saved "
            "datasets folder"
        )
    with open(p, "rb") as f:
        head = f.read(8)
    if not head:
        raise InputError(f"{name} is empty (0 bytes); give a file with at least one row")
    if head.startswith(PARQUET):
        return Source(name, "Parquet", False, parquet_rows(p), p)
    packed = head.startswith(GZIP)
    if p.suffix == ".gz" and not packed:
        raise InputError(
            f"{name} is named .gz but is not gzip (it begins with {clipped(head[:4])}); unpack or "
            "rename it"
        )
    start = _start(p, packed)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name} is UTF-16; {_SAVE}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{name} holds nothing but blank space; give a file with at least one row")
    suffix = Path(p.stem).suffix.lower() if packed and p.suffix == ".gz" else p.suffix.lower()
    inner = ", gzipped" if packed else ""
    if text[:1] == b"{":
        return Source(name, f"JSON lines{inner}", True, _json_lines(p, packed), p)
    if text[:1] == b"[":
        return Source(name, f"JSON array{inner}", False, _json_array(p, packed), p)
    if suffix in (".csv", ".tsv") or (suffix in (".txt", "") and (b"," in text or b"\t" in text)):
        first = text.splitlines()[0]
        tab = suffix == ".tsv" or (suffix != ".csv" and first.count(b"\t") > first.count(b","))
        return Source(
            name,
            ("TSV" if tab else "CSV") + inner,
            True,
            _table(p, packed, "\t" if tab else ","),
            p,
        )
    if suffix in (".jsonl", ".json", ".ndjson"):
        return Source(name, f"JSON lines{inner}", True, _json_lines(p, packed), p)
    raise InputError(
        f"{name} is no format known here (it begins with {clipped(text[:12])}); give JSON lines, "
        "a JSON array, CSV, TSV, Parquet, a saved datasets folder or a hub name"
    )


def _opened(path: Path, packed: bool) -> io.BufferedReader:
    return io.BufferedReader(gzip.GzipFile(path, "rb")) if packed else open(path, "rb")  # type: ignore[type-var]


def _start(path: Path, packed: bool) -> bytes:
    try:
        with _opened(path, packed) as f:
            return f.read(65536)
    except (EOFError, gzip.BadGzipFile, zlib.error) as why:
        raise InputError(f"{path} is a damaged gzip file ({why}); fetch or pack it again") from why


def _json_lines(path: Path, packed: bool) -> Callable[[Faults], Iterator[tuple[int, Row]]]:
    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        for i, text in _lines(path, packed, faults):
            try:
                row = json.loads(text)
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
    with _opened(path, packed) as f:
        i = 0
        try:
            for i, raw in enumerate(f, 1):
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
                        _SAVE,
                    )
                    continue
                if text.strip():
                    yield i, text
        except (EOFError, gzip.BadGzipFile, zlib.error) as why:
            faults.error(
                "damaged gzip",
                i + 1,
                None,
                f"the packed data ends or breaks here ({why})",
                "fetch or pack the file again",
            )


def _json_array(path: Path, packed: bool) -> Callable[[Faults], Iterator[tuple[int, Row]]]:
    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        with _opened(path, packed) as f:
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
            except (ValueError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error) as why:
                faults.error(
                    "bad JSON",
                    every.line,
                    None,
                    f"the array cannot be read ({str(why)[:100]})",
                    "repair it, or write one object a line",
                )

    return rows


def _table(
    path: Path, packed: bool, delimiter: str
) -> Callable[[Faults], Iterator[tuple[int, Row]]]:
    def rows(faults: Faults) -> Iterator[tuple[int, Row]]:
        csv.field_size_limit(1 << 30)
        with (
            _opened(path, packed) as f,
            io.TextIOWrapper(f, encoding="utf-8-sig", newline="", errors="surrogateescape") as text,
        ):
            reader = csv.reader(text, delimiter=delimiter, strict=True)
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
                                f"a column stands twice in {', '.join(header)}",
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
                            f"quote cells that hold a {'tab' if delimiter == chr(9) else 'comma'} "
                            "or a line end",
                        )
                        continue
                    row = dict(zip(header, cells, strict=True))
                    bad = next((h for h, c in row.items() if not c.isascii() and _escaped(c)), None)
                    if bad is not None:
                        faults.error(
                            "not UTF-8", reader.line_num, bad, "bytes that are not UTF-8", _SAVE
                        )
                        continue
                    yield reader.line_num, row
            except csv.Error as why:
                faults.error(
                    "bad CSV",
                    reader.line_num,
                    None,
                    f"the line cannot be read ({why})",
                    "check its quotes",
                )
            except (EOFError, gzip.BadGzipFile, zlib.error) as why:
                faults.error(
                    "damaged gzip",
                    reader.line_num + 1,
                    None,
                    f"the packed data breaks here ({why})",
                    "pack the file again",
                )

    return rows


def _escaped(text: str) -> bool:
    """Whether some of it were bytes that are no UTF-8: they came through as lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
