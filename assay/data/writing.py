"""Write rows as strict JSON lines, into a new file that appears whole or not at all."""

from __future__ import annotations

import gzip
import io
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.engine.os_errors import writing_to
from assay.errors import InputError


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

    The rows go to a file beside it, which takes the name when the block ends. Where the block
    raises, that file is deleted.

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
    taken = f"{out} exists and is never overwritten; give another file"
    if os.path.lexists(out):
        raise InputError(taken)
    with writing_to(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.{os.getpid()}.new")
    try:
        with writing_to(out), _opened(fresh, out.suffix == ".gz") as f:
            yield Lines(f, escaped=escaped)
        if before is not None:
            before(fresh)
        try:
            os.link(fresh, out)  # unlike a rename, fails where something stands
        except FileExistsError as why:
            raise InputError(taken) from why
    finally:
        fresh.unlink(missing_ok=True)


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
