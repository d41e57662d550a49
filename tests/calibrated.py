"""A calibration of turning points and scores of four reward models, made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from assay.audits.turning_fit import FEATURES, Calibration


def known(**changes: Any) -> Calibration:
    """A calibration made by hand, in whose range normal members lie."""
    made = Calibration(
        FEATURES,
        centre=(0.5, 0.0),
        scale=(0.2, 0.2),
        weight=(0.3, -0.1),
        intercept=0.5,
        errors=(-0.4, 0.6),
        level=0.8,
        least=(-1.0, -2.0),
        most=(1.0, 2.0),
        horizon=5.0,
        runs=100,
        turned=90,
    )
    return replace(made, **changes)


def scores(rho: float = 0.5, B: int = 100, N: int = 64) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    shared, own = torch.randn(B, N, generator=g), torch.randn(4, B, N, generator=g)
    return math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
