"""Write rows as strict JSON lines, into a new file that appears whole or not at all."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.engine.atomic import creating


class Lines:
    """Writes rows to an open file.

    Args:
        file: The file, open for bytes.
        escaped: Whether every character beyond ASCII is escaped.

    Attributes:
        written: How many rows were written.
    """

    def __init__(self, file: io.BufferedIOBase, *, escaped: bool):
        self._file, self._escaped, self.written = file, escaped, 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Write one row, see `strict`."""
        text = json.dumps(strict(row), allow_nan=False, ensure_ascii=self._escaped)
        self._file.write(text.encode() + b"\n")
        self.written += 1


@contextmanager
def new_file(
    out: str | Path, *, escaped: bool = True, before: Callable[[Path], None] | None = None
) -> Iterator[Lines]:
    """Write a file of JSON lines that is never put over another.

    Args:
        out: The file, gzipped if its name ends in .gz. Its folder is made.
        escaped: Whether every character beyond ASCII is escaped.
        before: Called with the whole file before it takes its name. If it raises, there is no file.

    Yields:
        What writes the rows.

    Raises:
        InputError: `out` exists.
        NotWritten: The system refuses the file.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> with new_file(folder / "a.jsonl") as lines:
        ...     lines.write({"prompt": "2+2", "score": float("nan")})
        >>> (folder / "a.jsonl").read_text()
        '{"prompt": "2+2", "score": null}\\n'
    """
    out = Path(out)
    with creating(out) as fresh:
        with _opened(fresh, out.suffix == ".gz") as f:
            yield Lines(f, escaped=escaped)
        if before is not None:
            before(fresh)


def _opened(path: Path, packed: bool) -> io.BufferedIOBase:
    return gzip.GzipFile(path, "wb", mtime=0) if packed else open(path, "wb")


def strict(value: Any) -> Any:
    """Return a value as strict JSON: null for what is not finite, text for what JSON cannot hold.

    Example:
        >>> strict({"score": float("inf"), "at": (1, b"x")})
        {'score': None, 'at': [1, "b'x'"]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return value if value is None or isinstance(value, bool | int | str) else str(value)
