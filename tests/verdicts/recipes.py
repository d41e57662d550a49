"""Curves of gold for the claims of recipes: arm → gold at each reading, at KL 0, 1, 2, … nats.

TRUE are worlds in which a claim's paper is right, FALSE worlds in which it is wrong.
"""

from __future__ import annotations

Curves = dict[str, dict[str, list[float]]]

UP, FALLS, LOW = [0.0, 1.0, 2.0, 2.5], [0.0, 1.0, 1.0, -1.0], [0.0, 0.1, 0.2, 0.1]

TRUE: Curves = {
    "worst_case": {"mine": UP, "single": FALLS, "mean": [0.0, 1.0, 1.5, 0.0]},
}
FALSE: Curves = {
    "worst_case": {"mine": FALLS, "single": FALLS, "mean": FALLS},
}
