"""The results as tables of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from assay.stats.paired import difference
from bench.losses import cases


def tables(found: Sequence[dict[str, Any]]) -> str:
    """Return a table of the losses of pairs by condition, one of lists by size, and the constants.

    Args:
        found: What `python -m bench.losses` wrote.
    """
    by = current(found)
    lists = [f"lists of {n}" for n in cases.SIZES]
    return "\n".join(
        [
            *_gold(by, list(cases.CONDITIONS), list(cases.PAIRS), "DPO"),
            "",
            *_gold(by, lists, list(cases.LISTS), "all_pairs"),
            "",
            *_constants(by, [*cases.CONDITIONS, *lists]),
            "",
        ]
    )


def current(found: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Each condition's results, by condition and loss: of the most seeds for tuning on which all of
    its losses were run. Within a condition all were then judged on the same seeds.
    """
    by: dict[tuple[str, int], dict[tuple[str, str], dict[str, Any]]] = {}
    for r in found:
        key = r["condition"], r.get("tuned_on", cases.OLD_RULE)
        by.setdefault(key, {})[r["condition"], r["loss"]] = r
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for condition, seeds in sorted(by):
        results = by[condition, seeds]
        whole = cases.PAIRS if condition in cases.CONDITIONS else cases.LISTS
        if {loss for _, loss in results} == set(whole):
            chosen |= results
    return chosen


def _gold(
    by: dict[tuple[str, str], dict[str, Any]],
    columns: Sequence[str],
    rows: Sequence[str],
    baseline: str,
) -> list[str]:
    """Final gold of the baseline, and the others' paired differences from it."""
    heads = [f"{c} (tuned on {by[c, baseline].get('tuned_on', cases.OLD_RULE)})" for c in columns]
    lines = [
        f"| final gold ({baseline}), and minus it (others) | " + " | ".join(heads) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for loss in (baseline, *(r for r in rows if r != baseline)):
        cells = []
        for c in columns:
            mine, base = by[c, loss]["gold"], by[c, baseline]["gold"]
            gaps = mine if loss == baseline else [a - b for a, b in zip(mine, base, strict=True)]
            d = difference(gaps)
            far = statistics.fmean(k**0.5 for k in (max(0.0, k) for k in by[c, loss]["kl"]))
            sign = "" if loss == baseline else "+"
            sure = "**" if loss != baseline and abs(d["mean"]) > d["half"] else ""
            said = f"{sure}{d['mean']:{sign}.2f}{sure} ± {d['half']:.2f}"
            cells.append(f"{said}, √KL {far:.1f}")
        lines.append(f"| {loss} | " + " | ".join(cells) + " |")
    return lines


def _constants(by: dict[tuple[str, str], dict[str, Any]], columns: Sequence[str]) -> list[str]:
    """The setting that was best on the seeds for tuning; an asterisk where it is a grid's edge."""
    lines = ["| condition | best constants on the seeds for tuning: tuned constant, rate |"]
    lines.append("| --- | --- |")
    for c in columns:
        told = []
        for (condition, loss), r in by.items():
            if condition == c:
                name, tried = (
                    (cases.PAIRS[loss][2:]) if loss in cases.PAIRS else ("beta", cases.LIST_BETAS)
                )
                rates = cases.RATES if loss in cases.PAIRS else cases.LIST_RATES
                own = r["constants"]
                told.append(
                    f"{loss} {_marked(own[name], tried)}, {_marked(own['learning_rate'], rates)}"
                )
        lines.append(f"| {c} | {'; '.join(told)} |")
    return lines


def _marked(value: float, tried: Sequence[float]) -> str:
    return f"{value:g}{'*' if value in (min(tried), max(tried)) else ''}"
