"""Files that may be written over: reports, figures and comparisons that assay wrote."""

from __future__ import annotations

from pathlib import Path

from assay.errors import InputError


def must_be_ours(path: Path, begin: str, mark: str, flag: str) -> None:
    """Check that a report is written over nothing but a report.

    Args:
        path: The file to write; it need not exist.
        begin: Text that a report begins with.
        mark: Text that stands in every report.
        flag: The flag that names another file, for the message.

    Raises:
        InputError: The path exists and is no report.
    """
    if path.exists() and not is_ours(path, begin, mark):
        raise InputError(
            f"{path} exists and is no report of assay's, so it is not overwritten; give another "
            f"file with {flag}"
        )


def is_ours(path: Path, begin: str, mark: str) -> bool:
    """Say whether a file is a report.

    Args:
        path: The file.
        begin: Text that a report begins with.
        mark: Text that stands in every report.
    """
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return text.startswith(begin) and mark in text
