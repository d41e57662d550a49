"""assay: optimise a policy against a learned reward without over-optimising it, and measure whether
it worked.
"""

from __future__ import annotations

__version__ = "0.1.0"
