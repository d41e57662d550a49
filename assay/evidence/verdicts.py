"""CLAIMS.md: what the papers say and what was found here, a system at a time. Runs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from assay.evidence.render import written
from assay.evidence.rule import FAILS, HOLDS, VERDICTS

ORDER = (*VERDICTS, "not run")


def markdown(found: Iterable[Mapping[str, Any]]) -> str:
    """CLAIMS.md: a count, then every system with its statements, experiments and verdicts.

    Args:
        found: Results, from `claims.rows`.

    Returns:
        Markdown.
    """
    systems: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in found:
        systems.setdefault(row["title"], {}).setdefault(row["name"], []).append(row)
    verdicts = {
        title: [r["verdict"] for rows in claims.values() for r in rows]
        for title, claims in systems.items()
    }
    counts = Counter(v for said in verdicts.values() for v in said)
    return written(
        "claims.md",
        decided=sum(any(v in (HOLDS, FAILS) for v in said) for said in verdicts.values()),
        results=counts.total(),
        counts=[(v, counts[v]) for v in ORDER if v in counts],
        systems=[(title, systems[title].items()) for title in sorted(systems, key=str.lower)],
    )
