"""The server's log: one JSON object a line on stderr. It holds lengths of texts and never texts."""

from __future__ import annotations

import json
import logging
import select
import sys
import time
from typing import Any

from assay.safe_text import visible

NAME = "assay.serve"
OTHERS = ("assay", "uvicorn.error")  # warnings about rows, and about what is no HTTP


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; `extra={"fields": {…}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, in ASCII."""
        said: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": visible(record.getMessage()),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


class _Quiet(logging.StreamHandler[Any]):
    """A handler whose reader may go, or may read nothing: requests are answered all the same."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or drop it where a pipe that nobody reads is full."""
        if _has_room(self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: stderr is what could not be written to."""


def _has_room(stream: Any) -> bool:
    """Whether a line can be written without waiting."""
    if not hasattr(select, "poll"):  # Windows
        return True
    try:
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):  # no file: a buffer of a program, or none
        return True
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    return bool(waiting.poll(0))


def to_stderr(*, requests: bool) -> None:
    """Send the server's log, and the warnings of what it uses, to stderr as JSON lines.

    Args:
        requests: Whether each request has a line.
    """
    handler = _Quiet(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (NAME, *OTHERS):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.INFO if name == NAME and requests else logging.WARNING)
