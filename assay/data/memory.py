"""Rows that are in memory already: lists of dicts, `datasets.Dataset`s, pandas DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from assay.data.faults import Faults
from assay.data.read import Source
from assay.errors import InputError

Row = dict[str, Any]


def in_memory(value: Any, name: str, *, split: str | None = None) -> Source:
    """Give rows in memory the face of a file, so that they are checked as a file's rows are.

    Args:
        value: A list of dicts, a `datasets.Dataset` (or a `DatasetDict` with its splits), a pandas
            DataFrame, or any other collection of dicts.
        name: What messages call them, for example "pairs".
        split: Which split of a `DatasetDict`.

    Returns:
        The rows as a source; cells that pandas and NumPy hold in types of their own are plain.

    Raises:
        InputError: `value` is no collection of rows, or it has several splits and `split` names
            none of them.

    Example:
        >>> rows = in_memory([{"prompt": "2+2", "chosen": "4", "rejected": "5"}], "pairs")
        >>> next(rows.rows(Faults("pairs", False)))
        (1, {'prompt': '2+2', 'chosen': '4', 'rejected': '5'})
    """
    value = _split_of(value, name, split)
    if hasattr(value, "iloc") and hasattr(value, "to_dict"):  # a DataFrame iterates over columns
        value = value.to_dict("records")
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise InputError(
            f"{name} is a {type(value).__name__}; give a file, a hub name, a list of dicts, a "
            "datasets.Dataset or a pandas DataFrame"
        )
    if iter(value) is value:  # a generator can be read once, and rows are read twice
        value = list(value)

    def rows(_: Faults) -> Iterator[tuple[int, Row]]:
        for i, row in enumerate(value, 1):
            if not isinstance(row, Mapping):
                raise InputError(
                    f"{name}, row {i}: a {type(row).__name__} where a dict of columns was expected"
                )
            yield i, {str(k): _plain(v) for k, v in row.items()}

    return Source(name, "rows in memory", False, rows)


def _split_of(value: Any, name: str, split: str | None) -> Any:
    """The rows of one split, where `value` is a mapping of splits."""
    if not isinstance(value, Mapping):
        return value
    if split is None and len(value) == 1:
        split = str(next(iter(value)))
    parts = list(value.values())
    if split is None and not any(map(_rows, parts)):
        raise InputError(
            f"{name} is one dict of {', '.join(map(str, value))}; give a list of dicts, one a row, "
            "or datasets.Dataset.from_dict of its columns"
        )
    if split not in value:
        what = "several splits" if split is None else f"no split '{split}'"
        raise InputError(f"{name} has {what}; choose one with split: {', '.join(map(str, value))}")
    return value[split]


def _rows(value: Any) -> bool:
    """Whether a split is rows: a Dataset, a DataFrame, or a list of dicts that are no messages."""
    first = next(iter(value), None) if isinstance(value, (list, tuple)) else None
    several = hasattr(value, "column_names") or hasattr(value, "columns")
    return several or (isinstance(first, Mapping) and "role" not in first)


def _plain(cell: Any) -> Any:
    """A cell in Python's own types; a missing one is None."""
    if hasattr(cell, "tolist") and not isinstance(cell, (str, bytes)):  # NumPy's arrays and numbers
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return [_plain(c) for c in cell]
    if isinstance(cell, Mapping):
        return {str(k): _plain(v) for k, v in cell.items()}
    if isinstance(cell, float) and cell != cell:  # pandas writes a missing text as NaN
        return None
    return cell
