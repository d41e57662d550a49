"""People's files in: formats found out, every row checked, every fault with its file, row and
column. No torch.
"""

from __future__ import annotations

from assay.data.check import Checked, check, leaks
from assay.data.faults import Fault, Faults
from assay.data.kinds import KINDS, Layout, layout
from assay.data.pairs import Pair, pairs
from assay.data.read import Source, open_source
from assay.data.scored import Scored, scored, within

__all__ = [
    "KINDS",
    "Checked",
    "Fault",
    "Faults",
    "Layout",
    "Pair",
    "Scored",
    "Source",
    "check",
    "layout",
    "leaks",
    "open_source",
    "pairs",
    "scored",
    "within",
]
