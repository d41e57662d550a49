"""The results as a table of Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from assay.stats.paired import difference
from bench.verifiers import cases

HEADS = (
    "method",
    "best rate",
    "accuracy",
    "minus GRPO",
    "the same at GRPO's rate",
    "pass@8",
    "minus GRPO",
    "entropy, nats a token",
    "length, tokens",
    "completions",
    "updates",
    "seconds",
)


def tables(found: Sequence[dict[str, Any]]) -> str:
    """Return one table of the methods that read rewards alone, and of those that read more.

    Args:
        found: What `python -m bench.verifiers` wrote.
    """
    by = {r["method"]: r for r in found}
    base = by[cases.BASELINE]
    lines = ["| " + " | ".join(HEADS) + " |", "|" + " --- |" * len(HEADS)]
    for part in (cases.METHODS, cases.HELPED):
        lines += [_row(by[m], base) for m in part if m in by]
    return "\n".join([*lines, ""])


def _row(r: dict[str, Any], base: dict[str, Any]) -> str:
    """A method's line; in bold what an interval tells from GRPO."""
    itself = r is base
    rate = f"{r['rate']:g}{'*' if r['rate'] in (min(cases.RATES), max(cases.RATES)) else ''}"
    cells = [
        r["method"],
        rate,
        _mean(r, "accuracy", 3),
        "" if itself else _gap(r["ends"], base["ends"], "accuracy"),
        "" if itself else _gap(r["at baseline's rate"], base["ends"], "accuracy"),
        _mean(r, "pass", 3),
        "" if itself else _gap(r["ends"], base["ends"], "pass"),
        _mean(r, "entropy", 3),
        _mean(r, "length", 1),
        _mean(r, "generated", 0),
        _mean(r, "updates", 0),
        f"{r['seconds']:.1f}" if "seconds" in r else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _mean(r: dict[str, Any], name: str, digits: int) -> str:
    return f"{statistics.fmean(e[name] for e in r['ends']):.{digits}f}"


def _gap(mine: Sequence[dict[str, float]], base: Sequence[dict[str, float]], name: str) -> str:
    """A paired difference, and half of its 95 % Student interval."""
    d = difference([a[name] - b[name] for a, b in zip(mine, base, strict=True)])
    sure = "**" if abs(d["mean"]) > d["half"] else ""
    return f"{sure}{d['mean']:+.3f}{sure} ± {d['half']:.3f}"
