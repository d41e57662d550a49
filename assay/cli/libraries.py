"""What other libraries print: nothing, unless --verbose asks for it."""

from __future__ import annotations

import logging
import os

SILENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DATASETS_VERBOSITY": "error",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",  # without it a fork is warned of
}  # what a user set themselves holds


def hush(verbose: bool, quiet: bool) -> None:
    """Say how much is heard, before any library is imported.

    Args:
        verbose: Logs of all libraries, and Python's warnings.
        quiet: Not even assay's own warnings.
    """
    logging.getLogger("assay").setLevel(logging.ERROR if quiet else logging.NOTSET)
    if verbose:
        logging.basicConfig(level=logging.INFO)
        return
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)


def hush_warnings() -> None:
    """Take Python's warnings, which libraries address to those who call them, off the screen."""
    log = logging.getLogger("py.warnings")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    logging.captureWarnings(True)
