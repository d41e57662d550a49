"""Data files that ask for more than they hold, and cells that are no values: each is one fault."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.data import arrays, folders, text_rows, unpacked
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.errors import InputError

FEW = 1 << 16


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bounds, small enough for a test."""
    for where in (unpacked, folders):
        monkeypatch.setattr(where, "FREE", FEW)
        monkeypatch.setattr(where, "RATIO", 50)
    for place in (unpacked, arrays, text_rows):
        monkeypatch.setattr(place, "LONGEST", 1000)
    monkeypatch.setattr(arrays, "_CHUNK", 256)


def read(path: Path) -> tuple[list[dict[str, Any]], Faults]:
    """The rows of a file, and its faults."""
    source = open_source(path)
    faults = Faults(source.name, source.line)
    return [row for _, row in source.rows(faults)], faults


def said(faults: Faults) -> str:
    with pytest.raises(InputError) as caught:
        faults.stop()
    return str(caught.value)


LINE = b'{"prompt": "a", "response": "b"}\n'
BOMBS: dict[str, bytes] = {
    "bomb.jsonl.gz": LINE + b"\n" * 10_000_000,
    "bomb.json.gz": b"[" + b" " * 10_000_000,
    "bomb.csv.gz": b"prompt,response\na,b\n" + b"\n" * 10_000_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_gzip_is_left_early(name: str, small: None, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(BOMBS[name]))
    rows, faults = read(path)
    assert faults.errors == {"too much": 1} and len(rows) <= 1
    assert "it unpacks to more than " in said(faults) and "unpack the file yourself" in said(faults)


def test_text_that_packs_well_is_read_whole(small: None, tmp_path: Path) -> None:
    rows = [{"prompt": f"question {i} of many", "response": "x" * (i % 50)} for i in range(20_000)]
    raw = "".join(json.dumps(r) + "\n" for r in rows).encode()
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(raw))
    assert len(raw) > 10 * FEW
    found, faults = read(path)
    assert found == rows and not faults.errors


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("name", "raw", "where", "kept"),
    [
        ("a.jsonl", LINE + b'{"prompt": "' + b"ab" * 1000, "line 2: the line is longer than 1,", 1),
        ("a.csv", b"prompt,response\na,b\n" + b"ab" * 1000, "line 3: the line is longer than 1", 1),
        ("a.csv", b'prompt,response\na,b\n"' + b"ab\n" * 1000, "field larger than field limit", 1),
        ("a.json", b"[" + LINE + b', {"prompt": "' + b"ab" * 1000, "one value is longer than", 1),
        ("a.json", b'[{"prompt": [' + b"[" * 2000, "(longer than 1,000|maximum recursion)", 0),
    ],
)
def test_an_endless_line_or_value_is_a_fault_with_its_place(
    name: str,
    raw: bytes,
    where: str,
    kept: int,
    pack: Callable[[bytes], bytes],
    small: None,
    tmp_path: Path,
) -> None:
    path = tmp_path / (name if pack is bytes else f"{name}.gz")
    path.write_bytes(pack(raw))
    rows, faults = read(path)
    assert len(rows) == kept
    with pytest.raises(InputError, match=where):
        faults.stop()


def zipped(raw: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("a.jsonl", raw)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("zip", zipped(LINE)),
        ("xz", lzma.compress(LINE)),
        ("bzip2", bz2.compress(LINE)),
        ("zstd", b"\x28\xb5\x2f\xfd" + bytes(20)),
    ],
)
def test_what_is_packed_otherwise_is_named(kind: str, raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=f"is packed by {kind}, and only gzip is read; unpack it"):
        open_source(path)


def texts(*cells: bytes) -> pa.Array:
    """Text cells of any bytes; arrow does not look at them."""
    ends = [0]
    for cell in cells:
        ends.append(ends[-1] + len(cell))
    raw = [None, pa.array(ends, pa.int32()).buffers()[1], pa.py_buffer(b"".join(cells))]
    return pa.Array.from_buffers(pa.string(), len(cells), raw)


def table(bad: bytes = b"ok \xff\xfe") -> pa.Table:
    cells = {"prompt": texts(b"a", b"b", b"c"), "response": texts(b"d", bad, b"f")}
    return pa.table(cells)


def parquet(path: Path, made: pa.Table, **how: Any) -> Path:
    pq.write_table(made, path, **how)
    return path


def test_a_cell_of_parquet_that_is_not_utf8_has_row_and_column(tmp_path: Path) -> None:
    rows, faults = read(parquet(tmp_path / "a.parquet", table()))
    assert [r["prompt"] for r in rows] == ["a", "c"]
    assert faults.errors == {"not UTF-8": 1}
    assert "row 2, column 'response': byte 4 is 0xff, which is not UTF-8" in said(faults)


def test_a_cell_of_a_saved_dataset_that_is_not_utf8_has_row_and_column(tmp_path: Path) -> None:
    made = table()
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as f, pa.ipc.new_stream(f, made.schema) as w:
        w.write_table(made)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    rows, faults = read(tmp_path)
    assert len(rows) == 2 and "row 2, column 'response': byte 4" in said(faults)


def test_offsets_that_lead_out_of_a_saved_dataset_end_no_process(tmp_path: Path) -> None:
    ends = pa.array([0, 1, 1 << 30, 2], pa.int32()).buffers()[1]
    wild = pa.Array.from_buffers(pa.string(), 3, [None, ends, pa.py_buffer(b"ab")])
    made = pa.RecordBatch.from_arrays([wild], ["prompt"])
    with pa.OSFile(str(tmp_path / "data.arrow"), "wb") as f, pa.ipc.new_stream(f, made.schema) as w:
        w.write_batch(made)
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    rows, faults = read(tmp_path)
    assert rows == [] and faults.errors == {"damaged Arrow": 1}


def test_a_date_that_is_none_has_row_and_column(tmp_path: Path) -> None:
    when = pa.array([0, 1 << 62, 5], pa.int64()).cast(pa.timestamp("us"), safe=False)
    made = pa.table({"prompt": ["a", "b", "c"], "when": when})
    rows, faults = read(parquet(tmp_path / "a.parquet", made))
    assert len(rows) == 2 and "row 2, column 'when': a cell of the type timestamp" in said(faults)


def test_a_row_group_that_unpacks_to_far_more_is_refused(small: None, tmp_path: Path) -> None:
    made = pa.table({"prompt": pa.array(["a" * 100] * 50_000)})
    path = parquet(tmp_path / "a.parquet", made, compression="zstd", use_dictionary=False)
    rows, faults = read(path)
    assert rows == [] and faults.errors == {"too much": 1}
    assert "its row group 1 has " in said(faults) and "unpacks to 5," in said(faults)


def test_a_row_group_of_all_rows_is_read_in_parts(tmp_path: Path) -> None:
    made = pa.table({"prompt": [f"question {i}" for i in range(5000)]})
    path = parquet(tmp_path / "a.parquet", made, row_group_size=5000)
    assert pq.ParquetFile(path).num_row_groups == 1
    rows, faults = read(path)
    assert len(rows) == 5000 and rows[-1] == {"prompt": "question 4999"} and not faults.errors
