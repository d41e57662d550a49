"""When two batches of answers are the same."""

from __future__ import annotations

import torch

from assay.core import Samples

EXACT = {"rtol": 0.0, "atol": 1e-11}


def same(a: Samples, b: Samples) -> None:
    """Equal answers; where both are present, equal log-probabilities."""
    T = max(a.mask.shape[2], b.mask.shape[2])
    a, b = a.widened(T), b.widened(T)
    for name in ("action", "mask", "given", "ended"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    torch.testing.assert_close(a.logp, b.logp, **EXACT)
