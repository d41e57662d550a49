"""Open a data file: JSON lines, a JSON array, CSV, TSV, Parquet, a `datasets` folder, a hub name,
or prompts in lines of text.

The format is detected from the first bytes, not from the name, save that `.txt` may be plain text.
Rows are streamed. Nothing is executed or unpickled: a saved folder is read as Arrow files, and the
code of a hub dataset is never run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.data.faults import Faults, clipped
from assay.data.folders import folder_rows, hub_rows, parquet_rows
from assay.data.prompt_columns import PROMPT
from assay.data.text_rows import SAVE, Row, beginning, json_array, json_lines, plain_lines, table
from assay.data.unpacked import OTHERS
from assay.errors import InputError
from assay.registry.live import Live

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


@dataclass
class Source:
    """A file whose format is known.

    Attributes:
        name: Its name as it was given.
        format: Its format, for people.
        line: Whether its rows are its lines.
        rows: `rows(faults)` yields (row number, row); damaged rows are counted and left out.
        path: Its path; None for a dataset on the hub.
    """

    name: str
    format: str
    line: bool
    rows: Callable[[Faults], Iterator[tuple[int, Row]]]
    path: Path | None = None


def open_source(path: str | Path | Source, *, split: str | None = None) -> Source:
    """Detect the format of a data file.

    Args:
        path: A file, a folder that `datasets` saved, a hub name like owner/name, a `Live` list of
            rows, or a source that is open already.
        split: Which part of a dataset with several.

    Raises:
        InputError: There is nothing there that can be read.
    """
    if isinstance(path, Source):
        return path
    p, name = Path(path).expanduser(), str(path)
    if isinstance(path, Live):
        rows = path.value
        return Source(name, "rows from Python", False, lambda faults: enumerate(rows, 1))
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
    if other := next((k for mark, k in OTHERS.items() if head.startswith(mark)), ""):
        raise InputError(f"{name} is packed by {other}, and only gzip is read; unpack it first")
    packed = head.startswith(GZIP)
    if p.suffix == ".gz" and not packed:
        raise InputError(
            f"{name} is named .gz but is not gzip (it begins with {clipped(head[:4])}); unpack or "
            "rename it"
        )
    start = beginning(p, packed)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{name} is UTF-16; {SAVE}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{name} has only blank space; give a file with at least one row")
    suffix = Path(p.stem).suffix.lower() if packed and p.suffix == ".gz" else p.suffix.lower()
    inner = ", gzipped" if packed else ""
    if suffix == ".txt" and b"\0" not in text and not _structured(text):
        header = text.splitlines()[0].strip().lower().decode("utf-8", "replace") in PROMPT
        return Source(name, f"lines of text{inner}", True, plain_lines(p, packed, header=header), p)
    if text[:1] == b"{":
        return Source(name, f"JSON lines{inner}", True, json_lines(p, packed), p)
    if text[:1] == b"[":
        return Source(name, f"JSON array{inner}", False, json_array(p, packed), p)
    if suffix in (".csv", ".tsv") or (suffix in (".txt", "") and (b"," in text or b"\t" in text)):
        mark, called = _delimiter(text.splitlines()[0], suffix)
        return Source(name, called + inner, True, table(p, packed, mark), p)
    if suffix in (".jsonl", ".json", ".ndjson"):
        return Source(name, f"JSON lines{inner}", True, json_lines(p, packed), p)
    raise InputError(
        f"{name} has an unknown format (it begins with {clipped(text[:12])}); give JSON lines, "
        "a JSON array, CSV, TSV, Parquet, prompts in lines of text (.txt), a saved datasets folder "
        "or a hub name"
    )


def _structured(text: bytes) -> bool:
    """Whether a file named .txt holds JSON or a table, not one prompt a line.

    A table's first line names its columns: words with a tab, comma, semicolon or bar between them.
    """
    if re.match(rb"\{\s*[\"}]|\[\s*[{\]]", text):
        return True
    cells = re.split(rb"[\t,;|]", text.splitlines()[0])
    return len(cells) > 1 and all(re.fullmatch(rb"\s*\"?[A-Za-z_][\w.-]*\"?\s*", c) for c in cells)


def _delimiter(header: bytes, suffix: str) -> tuple[str, str]:
    """What parts the cells, by the line of the columns' names; and the format's name.

    Spreadsheets of many countries write CSV with semicolons.
    """
    if suffix == ".tsv":
        return "\t", "TSV"
    marks = {b",": "CSV", b";": "CSV with semicolons", b"\t": "TSV", b"|": "CSV with bars"}
    mark = max(marks, key=header.count)  # the first of them where none occurs
    return mark.decode(), marks[mark]
