"""Real files: what they are, reward ensembles fitted on them, rows scored, best-of-n curves. Plain functions that return
what they found, as JSON can hold it."""
from __future__ import annotations

from assay.files.checking import check
from assay.files.curve import bon
from assay.files.fitting import fit
from assay.files.scoring import score
from assay.rewards.opening import load_reward

__all__ = ["bon", "check", "fit", "load_reward", "score"]
