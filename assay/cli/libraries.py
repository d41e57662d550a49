"""What other libraries print: nothing, unless --verbose asks for it."""

from __future__ import annotations

import logging
import os
import sys

from assay.safe_text import visible

SILENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DATASETS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",  # without it a fork is warned of
}  # what a user set themselves holds


class Warnings(logging.Handler):
    """Prints assay's own warnings on stderr, each with its level before it.

    Of records that have the attribute `once`, one of each kind is printed: a sweep's runs are all
    alike in what they warn of.
    """

    def __init__(self, level: int):
        super().__init__(level)
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        kind = getattr(record, "once", None)
        if kind is not None and kind in self._seen:
            return
        self._seen |= set() if kind is None else {kind}
        text = record.getMessage().removeprefix("assay: ")
        print(f"{record.levelname.lower()}: {visible(text)}", file=sys.stderr, flush=True)


def hush(verbose: bool, quiet: bool) -> None:
    """Say how much is heard, before any library is imported.

    Args:
        verbose: Logs of all libraries, and Python's warnings.
        quiet: Not even assay's own warnings.
    """
    own = logging.getLogger("assay")
    own.setLevel(logging.ERROR if quiet else logging.NOTSET)
    for handler in [h for h in own.handlers if isinstance(h, Warnings)]:
        own.removeHandler(handler)
    if verbose:
        os.environ.setdefault("TQDM_DISABLE", "1")  # a bar is control characters
        logging.basicConfig(level=logging.INFO)
        return
    own.addHandler(Warnings(logging.WARNING))
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)


def hush_warnings() -> None:
    """Take Python's warnings, which libraries address to those who call them, off the screen."""
    log = logging.getLogger("py.warnings")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    logging.captureWarnings(True)
