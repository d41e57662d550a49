"""`python -m assay …` is `assay …`, so that a launcher can start it."""

from __future__ import annotations

from assay.cli import entry

if __name__ == "__main__":
    entry()
