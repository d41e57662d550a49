"""The report's runs in parts: by noise and by label count, and intervals of several levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.audit import judged, worlds
from bench.audit.judged import Run
from bench.audit.resampled import median, with_interval

LEVELS = (0.5, 0.8, 0.9)
MEASURED = ("rank within kinds", "coverage", "error, factor")
BY = {"noise": (0.0, 0.1, 0.2, 0.3, 0.4), "pairs": (200, 400, 1600)}


def by_setting(develop: Sequence[Run], report: Sequence[Run]) -> dict[str, Any]:
    """Every rule on the table's runs of one noise, and of one label count."""
    table = [r for r in report if r.kind.startswith("table-")]
    by = {
        rule: judged.of_known_kinds(develop, table, rule) for rule, x in judged.RULES.items() if x
    }
    out: dict[str, Any] = {}
    for name, values in BY.items():
        for value in values:
            at = np.array([worlds.setting(r.seed)[name] == value for r in table])
            mine = [r for r, here in zip(table, at, strict=True) if here]
            each = {
                rule: measures(mine, judged.Predicted(p.d[at], p.low[at], p.high[at]), MEASURED)
                for rule, p in by.items()
            }
            turned = sum(r.turn.turned for r in mine)
            out[f"{name} {value:g}"] = {"runs": len(mine), "turned": turned, "rules": each}
    return out


def by_level(develop: Sequence[Run], report: Sequence[Run]) -> dict[str, Any]:
    """Coverage and width of the members' interval at other nominal levels, for both questions."""
    seen = {r.kind for r in develop}
    known = [r for r in report if r.kind in seen]
    return {
        f"{level:g}": {
            question: measures(
                of, ask(develop, of, "members", level=level), ("coverage", "width, factor")
            )
            for question, ask, of in (
                ("known", judged.of_known_kinds, known),
                ("new", judged.of_new_kinds, report),
            )
        }
        for level in LEVELS
    }


def measures(
    runs: Sequence[Run], by: judged.Predicted, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Every measure, or those named, with its interval."""
    seeds = [r.seed for r in runs]
    found = judged.scores(runs, by)
    return {name: with_interval(seeds, found[name]) for name in names or found}


def lean(runs: Sequence[Run], by: judged.Predicted) -> dict[str, Any]:
    """Which way a prediction is wrong, where the run turned: predicted by measured √KL, the median
    with its interval. Above 1 it says too late.
    """
    d, turned = np.array([r.turn.d for r in runs]), np.array([r.turn.turned for r in runs])
    ratio = np.log(by.d) - np.log(d)
    return with_interval([r.seed for r in runs], median(ratio, turned))
