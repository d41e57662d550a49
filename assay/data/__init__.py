"""Read people's files: detect their format, check every row, name every fault by row and column.

Nothing here imports torch.
"""

from __future__ import annotations

from assay.data.faults import Fault, Faults
from assay.data.kinds import KINDS, Layout, layout
from assay.data.memory import in_memory
from assay.data.pairs import Pair, pairs
from assay.data.read import Source, open_source
from assay.data.scan import PEEK, Scan, leaks, scan_file
from assay.data.scored import Scored, scored, within

__all__ = [
    "KINDS",
    "PEEK",
    "Fault",
    "Faults",
    "Layout",
    "Pair",
    "Scan",
    "Scored",
    "Source",
    "in_memory",
    "layout",
    "leaks",
    "open_source",
    "pairs",
    "scan_file",
    "scored",
    "within",
]
