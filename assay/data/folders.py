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
from assay.errors import InputError
from assay.registry.extras import need

Rows = Callable[[Faults], Iterator[tuple[int, dict[str, Any]]]]


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[int, dict[str, Any]]]:
    i = 0
    for batch in batches:
        batch.validate(full=True)  # a damaged offset would end the process by a bus error
        for row in batch.to_pylist():
            i += 1
            yield i, row


def parquet_rows(path: Path) -> Rows:
    """Rows of one Parquet file, read in batches."""

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            with pq.ParquetFile(path) as file:
                yield from _numbered(file.iter_batches(batch_size=1024))
        except (pa.ArrowException, UnicodeError, OSError) as why:
            faults.error(
                "damaged Parquet",
                None,
                None,
                f"it cannot be read ({str(why)[:100]})",
                "fetch or write it again",
            )

    return rows


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
                yield from pa.ipc.open_stream(f)

    def rows(faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            yield from _numbered(batches())
        except (pa.ArrowException, UnicodeError, OSError) as why:
            faults.error(
                "damaged Arrow",
                None,
                None,
                f"it cannot be read ({str(why)[:100]})",
                "save the dataset again",
            )

    return rows


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
