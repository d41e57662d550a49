"""Readers of data files: every format, every kind of row, columns, labels, repair."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.data.label_map import label_map
from assay.data.memory import in_memory
from assay.data.repair import repair
from assay.data.scan import scan_file
from assay.errors import InputError
from assay.watch.labelers import sheet
from assay.watch.labelers.people import ShownPair
from assay.watch.ledger import read_sheet
from fuzz import rows
from fuzz.harness import Target, choice

WANTS = (None, None, None, "pairs", "prompts", "scored", "responses")


def _scanned(path: Path | Any, data: bytes, **how: Any) -> None:
    """Read a file as a verb does, then raise its faults."""
    want = WANTS[choice(data, len(WANTS))]
    found = scan_file(path, want=want, keep=True, tell=False, drop=choice(data, 2) == 1, **how)
    json.dumps(found.plain(), allow_nan=False)
    found.faults.stop()


def _file(name: str) -> Any:
    def call(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        _scanned(folder / name, data)

    return call


def _repaired(name: str) -> Any:
    def call(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        repair(folder / name, folder / "out.jsonl")
        again = scan_file(folder / "out.jsonl", tell=False)
        again.faults.stop()

    return call


def _parquet(data: bytes, folder: Path) -> None:
    """Rows as Parquet holds them, where it can hold them."""
    try:
        table = pa.Table.from_pylist([r for r in map(json.loads, data.splitlines()) if r])
        pq.write_table(table, folder / "x.parquet")
    except Exception as why:  # pyarrow raises many types for rows that it cannot hold
        raise InputError("no table") from why
    _scanned(folder / "x.parquet", data)


def _parquet_seeds() -> list[bytes]:
    out = []
    for found in list(rows.KINDS.values())[:6]:
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(found), file)
        out.append(file.getvalue())
    return out


def _arrow_seeds() -> list[bytes]:
    out = []
    for found in list(rows.KINDS.values())[:4]:
        file, table = io.BytesIO(), pa.Table.from_pylist(found)
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        out.append(file.getvalue())
    return out


_STATE = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"}


def _saved(data: bytes, folder: Path) -> None:
    """The rows of a folder that `datasets` saved, its Arrow file damaged."""
    (folder / "state.json").write_text(json.dumps(_STATE))
    (folder / "dataset_info.json").write_text("{}")
    (folder / "data-00000-of-00001.arrow").write_bytes(data)
    _scanned(folder, data)


def _state(data: bytes, folder: Path) -> None:
    """The same folder, its state.json damaged."""
    (folder / "state.json").write_bytes(data)
    (folder / "data-00000-of-00001.arrow").write_bytes(_ARROW)
    scan_file(folder, tell=False).faults.stop()


_ARROW = _arrow_seeds()[0]


def _spoken(data: bytes, folder: Path) -> None:
    """A file with --columns, --label-map and --score."""
    try:
        given = json.loads(data)
        found = given["rows"] if isinstance(given["rows"], list) else []
        lines = "".join(json.dumps(r) + "\n" for r in found)
        parts = {str(k): str(v) for k, v in dict(given["columns"]).items()}
        labels = {str(k): str(v) for k, v in dict(given["labels"]).items()}
        score = given.get("score")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        raise InputError("no bundle") from why
    path = folder / "x.jsonl"
    path.write_text(lines, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(InputError):
        label_map(labels, scores=True)
    how: dict[str, Any] = {"score": str(score)} if score else {}
    _scanned(path, data, columns=parts, label_map=labels, **how)


def _spoken_seeds() -> list[bytes]:
    said: list[tuple[str, dict[str, str], dict[str, str]]] = [
        ("pairs", {"prompt": "prompt"}, {}),
        ("choices", {"verdict": "winner"}, {"model_a": "first", "tie": "drop"}),
        ("choices by number", {}, {"0": "first", "1": "0.25"}),
        ("labelled", {"score": "label"}, {"true": "1", "false": "-1"}),
        ("scored", {"prompt": "", "response": "response"}, {}),
        ("instructions", {"input": "", "prompt": "instruction"}, {}),
    ]
    return [
        json.dumps({"rows": rows.KINDS[k], "columns": c, "labels": m, "score": None}).encode()
        for k, c, m in said
    ]


def _in_memory(data: bytes, folder: Path) -> None:
    """Rows that a Python program passes."""
    try:
        found = [json.loads(line) for line in data.splitlines()]
    except (ValueError, RecursionError) as why:
        raise InputError("no rows") from why
    _scanned(in_memory(found, "pairs"), data)


_PAIRS = {i: ShownPair(i, "p", "a", "b", {"id": i, "step": 1}) for i in ("a1", "b2", "b2-again")}
_SHEETS = [
    b"id,prompt,first,second,better\r\na1,p,a,b,1\r\nb2,p,a,b,\r\nb2-again,p,b,a,tie\r\n",
    b'\xef\xbb\xbfid,prompt,first,second,better\na1,\'=p,"a\nb",b,first\n',
]
_LABELS = [b"id,prompt,completion,label\na:1:0:0,p,c,0.5\na:1:0:1,p,d,\n"]


def _sheet(data: bytes, folder: Path) -> None:
    (folder / "sheet.csv").write_bytes(data)
    sheet.read(folder / "sheet.csv", _PAIRS)


def _labels(data: bytes, folder: Path) -> None:
    (folder / "labels.csv").write_bytes(data)
    read_sheet(folder / "labels.csv")


DATA = [
    Target("rows of JSON lines", "lines", rows.json_lines, _file("x.jsonl"), 2),
    Target("rows of a JSON array", "json", rows.arrays, _file("x.json")),
    Target("rows of CSV", "csv", rows.tables, _file("x.csv"), 2),
    Target("rows of TSV", "csv", rows.tables, _file("x.tsv")),
    Target("rows of an unnamed format", "lines", rows.json_lines, _file("x")),
    Target("rows of Parquet", "lines", rows.json_lines, _parquet),
    Target("bytes of Parquet", "bytes", _parquet_seeds, _file("x.parquet")),
    Target("bytes of Arrow", "bytes", _arrow_seeds, _saved),
    Target("state of a saved dataset", "json", lambda: [json.dumps(_STATE).encode()], _state),
    Target("rows with columns and labels", "json", _spoken_seeds, _spoken, 2),
    Target("rows from Python", "lines", rows.json_lines, _in_memory),
    Target("repair of JSON lines", "lines", rows.json_lines, _repaired("x.jsonl")),
    Target("repair of CSV", "csv", rows.tables, _repaired("x.csv"), 0.5),
    Target("a sheet of pairs", "csv", lambda: _SHEETS, _sheet),
    Target("a sheet of labels", "csv", lambda: _LABELS, _labels),
]
