"""Digests by which a run's own files are known again: of run.json, and of the lines beside it.

Lines are only appended, so the digest of a file is that of its first bytes: what was there when it
was taken must be there still.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.lines import encode

LINES = ("readings.jsonl", "samples.jsonl", "labels.jsonl", "questions.jsonl")
_BLOCK = 1 << 20
log = logging.getLogger("assay")


def seal_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record without its seal, and without entries that hold nothing: a later assay
    reads what an earlier one did not know as such.

    Args:
        record: run.json as a dict.

    Example:
        >>> seal_of({"seed": 1}) == seal_of({"seed": 1, "seal": "any"}) != seal_of({"seed": 2})
        True
    """
    said = {k: v for k, v in record.items() if k != "seal" and v not in (None, "", [], {})}
    return hashlib.sha256(encode(said)).hexdigest()


def prefix_digest(path: Path, size: int | None = None) -> list[Any]:
    """How many bytes of a file were read, and their SHA-256.

    Args:
        path: The file.
        size: How many bytes to read; None for all.

    Returns:
        [bytes, 64 hexadecimal digits].
    """
    said, left, read = hashlib.sha256(), float("inf") if size is None else size, 0
    with open(path, "rb") as f:
        while left and (block := f.read(int(min(_BLOCK, left)))):
            said.update(block)
            read, left = read + len(block), left - len(block)
    return [read, said.hexdigest()]


def line_digests(folder: Path) -> dict[str, list[Any]]:
    """Digests of the lines that a run has written so far.

    Args:
        folder: The run's folder.

    Returns:
        By file, see `prefix_digest`.
    """
    return {name: prefix_digest(folder / name) for name in LINES if (folder / name).exists()}


def changed_lines(folder: Path, before: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the files of lines whose digests were kept.

    Args:
        folder: The run's folder.
        before: What `line_digests` returned.

    Returns:
        A clause by file; {} where all lines are what they were.
    """
    found = {}
    for name, entry in before.items():
        path = folder / name
        size, digest = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if not path.exists():
            found[name] = "is gone"
        elif not (type(size) is int and size >= 0):
            found[name] = "has a checksum in the record that is none"
        elif prefix_digest(path, size) != [size, digest]:
            short = path.stat().st_size < size
            found[name] = (
                f"is shorter than the {size} bytes that were written"
                if short
                else "was changed after it was written"
            )
    return found


def check_lines(folder: Path, before: Mapping[str, Any]) -> None:
    """Raise InputError where lines are not what they were when their digests were kept."""
    for name, what in changed_lines(folder, before).items():
        raise InputError(f"{folder / name} {what}; put it back, or run again into another folder")


def check_seal(about: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError where a run's record was edited after assay wrote it.

    A record without a seal is one of an earlier assay, and is believed.

    Args:
        about: run.json as a dict.
        folder: The run's folder.
    """
    if about.get("seal") not in (None, seal_of(about)):
        raise InputError(
            f"{folder / 'run.json'} was edited after assay wrote it (it does not match its seal); "
            f"put it back, or start another run with --from {folder}"
        )


def say_changed(about: Mapping[str, Any], folder: Path, lines: Collection[str] = LINES) -> None:
    """Say what of a run that is done is shown though the run did not write it.

    Args:
        about: run.json as a dict.
        folder: The run's folder.
        lines: The files of lines that are shown; nothing is said of others.
    """
    files = about.get("files") or {}
    known = {k: v for k, v in files.items() if k in lines}
    wrong = [f"{folder / k} {what}" for k, what in changed_lines(folder, known).items()]
    if about.get("seal") not in (None, seal_of(about)):
        wrong.append(f"{folder / 'run.json'} was edited after assay wrote it")
    for what in wrong:
        said = "%s, and is shown as it is; assay verify names all that was changed"
        log.warning(said, what, extra={"once": what})
