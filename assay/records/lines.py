"""Strict JSON on disk: one object a file, or one object a line, that survive a kill at any moment.

What was not measured, and what is not finite, is null; never 0, never NaN. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from assay.engine.atomic import sync_folder
from assay.engine.os_errors import writing_to
from assay.errors import InputError

# `str.splitlines` would break a line at these, so they are written as escapes
_SPLITTERS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
CURE = "repair or delete that line, or run again into another folder"


def plain(value: Any, where: str = "the record") -> Any:
    """Return a value as strict JSON can hold it.

    Args:
        value: Numbers, text, paths, lists, tuples and mappings of them.
        where: The name of the value in messages.

    Returns:
        The value with tuples as lists, paths as text, keys as text, and numbers that are not finite
        as None.

    Raises:
        TypeError: Something in it is none of these.

    Example:
        >>> plain({"kl": float("nan"), "n": (1, 2)})
        {'kl': None, 'n': [1, 2]}
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(
        f"{where} is a {type(value).__name__}: a record holds numbers, text, lists and dicts"
    )


def encode(value: Any, indent: int | None = None) -> bytes:
    """Return one JSON object as UTF-8 bytes with its line end.

    Args:
        value: What `plain` takes.
        indent: Spaces a level; None writes one line.

    Returns:
        The bytes. Keys are sorted, so that records can be compared; a lone surrogate is written as
        its JSON escape.
    """
    text = json.dumps(
        plain(value), sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent
    )
    return text.translate(_SPLITTERS).encode("utf-8", "backslashreplace") + b"\n"


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is more than a number of 64 bits holds")
    return value


def _whole(text: str) -> int:
    if len(text) > 300:  # as a number of 64 bits it would be infinite
        raise ValueError(f"{text:.20}… is more than a number of 64 bits holds")
    return int(text)


_DECODER = json.JSONDecoder(parse_constant=_not_json, parse_float=_finite, parse_int=_whole)


def decode(raw: bytes, where: str, cure: str) -> dict[str, Any]:
    """Return the JSON object in some bytes.

    Args:
        raw: UTF-8 text.
        where: The file, and the line if it is one.
        cure: What the user can do where it is damaged.

    Returns:
        The object.

    Raises:
        InputError: It is not JSON, holds NaN, Infinity or a number of more than 64 bits, is nested
            too deeply, or is no object.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError) as why:
        raise InputError(f"{where} is damaged ({str(why)[:80]}); {cure}") from why
    if not isinstance(value, dict):
        raise InputError(
            f"{where} holds a {type(value).__name__} where a JSON object was expected; {cure}"
        )
    return value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON-lines file. Nothing is written.

    Args:
        path: The file.

    Returns:
        One dict a line; [] if there is no file. A last line without its line end was torn by a kill
        and is left out.

    Raises:
        InputError: Another line is damaged; the message names file and line.
    """
    if not path.exists():
        return []
    *whole, _torn = path.read_bytes().split(b"\n")
    return [decode(raw, f"{path}, line {i}", CURE) for i, raw in enumerate(whole, 1)]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append objects to a JSON-lines file. They are on the disk before this returns.

    Args:
        path: The file; a torn last line is cut off first.
        rows: The objects, one a line.

    Example:
        >>> path = getfixture("tmp_path") / "lines.jsonl"
        >>> write_lines(path, [{"step": 0}, {"step": 1}])
        >>> read_lines(path)
        [{'step': 0}, {'step': 1}]

    Raises:
        NotWritten: The disk is full; the lines that were there before are still there.
    """
    _without_torn_line(path)
    append(path, b"".join(encode(row) for row in rows))


def _without_torn_line(path: Path) -> None:
    """Cut off what follows the last line end of a file."""
    if not path.exists():
        return
    with writing_to(path), open(path, "r+b") as f:
        end = f.seek(0, os.SEEK_END)
        f.seek(max(0, end - 1))
        if end and f.read(1) != b"\n":
            f.seek(0)
            f.truncate(f.read().rfind(b"\n") + 1)


def append(path: Path, block: bytes) -> None:
    """Append bytes to a file, all of them or none. They are on the disk before this returns.

    Args:
        path: The file; it is made where it does not exist.
        block: The bytes.

    Raises:
        NotWritten: The disk is full; what was there before is still there, and nothing else.
    """
    new = not path.exists()
    with writing_to(path, len(block)), open(path, "ab", buffering=0) as f:
        end, rest = f.tell(), memoryview(block)
        try:
            while rest:  # without a buffer, a write may take a part
                rest = rest[f.write(rest) :]
            os.fsync(f.fileno())
            if new:
                sync_folder(path.parent)
        except OSError:
            f.truncate(end)
            raise


def digest(path: Path | str) -> str:
    """Return the SHA-256 of a file or a folder.

    Args:
        path: A file; or a folder, whose digest is that of its files' relative names and digests,
            sorted by name.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: There is no such file or folder.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        listing = "".join(f"{p.relative_to(path).as_posix()}\0{digest(p)}\n" for p in files)
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    if not path.is_file():
        raise InputError(f"{path} does not exist, so it has no digest")
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
