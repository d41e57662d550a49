"""Lines of meta_rm by hand: the step keeps a reward model right under the shift, or does not."""

from __future__ import annotations

from random import Random
from typing import Any

from assay.core.paper import Arms

OTHERS = ("plain", "random", "unshifted")


def true(seed: int) -> Arms:
    """MetaRM orders the moved policy's completions better than every other arm."""
    return _arms(seed, {"meta": 0.72, **dict.fromkeys(OTHERS, 0.62)})


def false(seed: int) -> Arms:
    """It orders them as the others do."""
    return _arms(seed, dict.fromkeys(("meta", *OTHERS), 0.62))


def _arms(seed: int, accuracies: dict[str, float]) -> Arms:
    noise = Random(seed)

    def lines(arm: str, accuracy: float) -> list[dict[str, Any]]:
        shown = {"accuracy": accuracy + noise.gauss(0, 0.003), "home": 0.76}
        made = 0 if arm == "plain" else 128
        spent = {"arm": "", "generated": made, "updates": 200, "labels": 400}
        return [{"kind": "accuracy", **shown}, {"kind": "spent", **spent}]

    def rounds(arm: str, last: float) -> list[dict[str, Any]]:
        made = 0 if arm == "plain" else 512
        spent = {"arm": "", "generated": made, "updates": 800, "labels": 400}
        golds = [0.5 + (last - 0.5) * k / 3 + noise.gauss(0, 0.02) for k in range(4)]
        each = [{"kind": "round", "level": k, "gold": g} for k, g in enumerate(golds)]
        return [*each, {"kind": "spent", **spent}]

    out = {arm: lines(arm, accuracy) for arm, accuracy in accuracies.items()}
    for arm in ("meta", "plain", "random"):
        better = accuracies[arm] > accuracies["plain"]
        out[f"{arm} rounds"] = rounds(arm, 3.0 if better else 1.5)
    return out
