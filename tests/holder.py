"""A process that makes an output and does not end: holder.py PATH, until its stdin closes."""

from __future__ import annotations

import sys
from pathlib import Path

from assay.engine.reserved import reserving

if __name__ == "__main__":
    with reserving(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
