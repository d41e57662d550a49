"""Standard output and error whose reader may go, as `head` does."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


def prepare() -> None:
    """Let stdout print a record that holds a lone surrogate, and give a process that was started
    with a stream closed one that leads to nowhere: `print` would take stdout for a missing stderr.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def unread(stream: TextIO) -> None:
    """Lead a stream whose reader has gone to nowhere, so that what is written to it is no error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def finish(code: int) -> int:
    """Flush both streams; one whose reader has gone is led to nowhere, so that nothing is raised
    when Python ends.

    Args:
        code: The exit code so far.

    Returns:
        The exit code: 1 where a result was not read to its end.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            unread(stream)
            code = code or int(stream is sys.stdout)
    return code
