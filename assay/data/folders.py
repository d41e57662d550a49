"""Rows of Parquet files, of folders that `datasets` saved, and of datasets on the hub."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from assay.data import hub
from assay.data.faults import Faults
from assay.data.unpacked import FREE, RATIO, TooMuch
from assay.errors import InputError
from assay.registry.extras import need

Rows = Callable[[Faults], Iterator[tuple[int, dict[str, Any]]]]


def _numbered(
    batches: Iterator[pa.RecordBatch], faults: Faults
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(row number, row) of batches; rows with a cell that is no value are counted and left out."""
    done = 0
    for batch in batches:
        try:
            rows: Iterator[Any] = iter(batch.to_pylist())
        except (ValueError, OverflowError):  # bytes that are no UTF-8, a date that is none
            rows = (_row(batch, i, done + i + 1, faults) for i in range(batch.num_rows))
        for i, row in enumerate(rows, done + 1):
            if row is not None:
                yield i, row
        done += batch.num_rows


def _row(batch: pa.RecordBatch, i: int, number: int, faults: Faults) -> dict[str, Any] | None:
    """One row of a batch; None where a cell of it cannot be read, which is counted."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[i].as_py()
        except UnicodeDecodeError as why:
            found = f"byte {why.start + 1} is {why.object[why.start]:#04x}, which is not UTF-8"
            faults.error("not UTF-8", number, name, found, "write the column as UTF-8 again")
            return None
        except (ValueError, OverflowError) as why:
            found = f"a cell of the type {column.type} is no value ({str(why)[:80]})"
            faults.error("unreadable cell", number, name, found, "write the column again")
            return None
    return row


def parquet_rows(path: Path) -> Rows:
    """Rows of one Parquet file, read in batches."""

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            # buffered: a row group, which may be all of the file, is never in memory as a whole
            with pq.ParquetFile(path, buffer_size=1 << 20) as file:
                _bounded(file.metadata)
                yield from _numbered(file.iter_batches(batch_size=1024), faults)
        except TooMuch as why:
            faults.error("too much", None, None, str(why), "write it again in smaller row groups")
        except (pa.ArrowException, UnicodeDecodeError, OSError) as why:
            faults.error(
                "damaged Parquet",
                None,
                None,
                f"it cannot be read ({str(why)[:100]})",
                "fetch or write it again",
            )

    return rows


def _bounded(about: pq.FileMetaData) -> None:
    """Raise TooMuch for a row group that unpacks to far more than it holds."""
    for g in range(about.num_row_groups):
        group = about.row_group(g)
        columns = [group.column(c) for c in range(group.num_columns)]
        packed = sum(c.total_compressed_size for c in columns)
        size = max(group.total_byte_size, sum(c.total_uncompressed_size for c in columns))
        if size > max(FREE, RATIO * packed):
            raise TooMuch(
                f"its row group {g + 1} has {packed:,} bytes and unpacks to {size:,}, and no text "
                "is packed so tightly"
            )


def folder_rows(folder: Path, split: str | None) -> Rows:
    """Rows of a folder that `save_to_disk` wrote, or of a folder of Parquet files.

    Args:
        folder: One split, or a folder with one folder a split.
        split: Which split; None where there is one.

    Raises:
        InputError: The folder is damaged, is no dataset, or has several splits.
    """
    folder = _split_of(folder, split)
    state = folder / "state.json"
    if state.is_file():
        try:
            names = [
                str(f["filename"])
                for f in json.loads(state.read_text(encoding="utf-8"))["_data_files"]
            ]
        except (ValueError, KeyError, TypeError, RecursionError) as why:
            raise InputError(
                f"{state} is damaged ({type(why).__name__}); save the dataset again"
            ) from why
        files = [folder / Path(n).name for n in names]
        gone = [f.name[:60] for f in files if not os.path.isfile(f)]  # of any name
        if gone:
            raise InputError(
                f"{folder} lacks {', '.join(gone[:3])}, which its state.json names; save the "
                "dataset again"
            )
        return _arrow_rows(files)
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise InputError(
            f"{folder} is a folder without state.json (written by `datasets`) and without Parquet "
            "files; give a file, or a folder that `save_to_disk` wrote"
        )

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        i = 0
        for file in files:
            for _, row in parquet_rows(file)(faults):
                i += 1
                yield i, row

    return rows


def _split_of(folder: Path, split: str | None) -> Path:
    listing = folder / "dataset_dict.json"
    if not listing.is_file():
        return folder
    try:
        names = [str(s) for s in json.loads(listing.read_text(encoding="utf-8"))["splits"]]
    except (ValueError, KeyError, TypeError, RecursionError) as why:
        raise InputError(
            f"{listing} is damaged ({type(why).__name__}); save the dataset again"
        ) from why
    if split is None and len(names) == 1:
        split = names[0]
    if split not in names:
        what = "several splits" if split is None else f"no split '{split}'"
        raise InputError(f"{folder} has {what}; choose one with --split: {', '.join(names)}")
    return folder / split


def _arrow_rows(files: list[Path]) -> Rows:
    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with pa.memory_map(str(file)) as f:
                for batch in pa.ipc.open_stream(f):
                    _valid(batch)
                    yield batch

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            yield from _numbered(batches(), faults)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as why:
            faults.error(
                "damaged Arrow",
                None,
                None,
                f"it cannot be read ({str(why)[:100]})",
                "save the dataset again",
            )

    return rows


def _valid(batch: pa.RecordBatch) -> None:
    """Raise ArrowInvalid where offsets lead out of a batch: reading them could end the process."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as why:
        if "UTF8" not in str(why):  # told with row and column, when the cell is read
            raise


def hub_rows(name: str, split: str | None) -> Rows:
    """Rows of a dataset on the hub, streamed by `datasets` (the `hub` extra).

    The code of the dataset is never run.

    Args:
        name: owner/name or owner/name:subset.
        split: Which split; train by default.
    """

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        need("datasets", "hub", f"{name} is no file here, and the hub")
        import datasets

        if reason := hub.unreachable():
            raise InputError(f"{name} is no file here, and {reason}; give a file, or try again")
        try:
            which, _, subset = name.partition(":")
            yield from enumerate(
                datasets.load_dataset(
                    which, subset or None, split=split or "train", streaming=True
                ),
                1,
            )
        except Exception as why:  # the hub and the network raise many types
            raise InputError(
                f"{name} is no file here and could not be read from the hub "
                f"({type(why).__name__}: {textwrap.shorten(str(why), 200, placeholder=' …')}); "
                f"check the name, the split ('{split or 'train'}') and the network"
            ) from why

    return rows
