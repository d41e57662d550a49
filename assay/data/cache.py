"""Where files lie that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def folder() -> Path:
    """$ASSAY_CACHE, or ~/.cache/assay."""
    return Path(os.environ.get("ASSAY_CACHE") or Path.home() / ".cache" / "assay")
