"""The calibration of `turning.predict`; `python -m bench.audit calibrate` writes it."""

from __future__ import annotations

from assay.audits.turning_fit import Calibration

KNOWN = Calibration(
    names=("kept", "growth"),
    centre=(0.69477, 0.576702),
    scale=(0.555991, 0.380408),
    weight=(-0.081738, -0.2823),
    intercept=0.765051,
    errors=(-0.575641, 0.568738),
    level=0.8,
    least=(-1.690632, -0.688979),
    most=(2.063675, 1.572117),
    horizon=5.442976,
    runs=160,
    turned=151,
)
