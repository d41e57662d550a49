"""CLAIMS.md: what the papers say and what was found here, a system at a time. From `claims.rows`;
runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

HEAD = """# Claims

What the papers say, run here. Written by `assay claims --write` from `claims/*.json`; each result is made again by the
command beside it. The effect is the mean over paired seeds with its 95 % Student-t interval, positive where the paper is
right; where a mitigation is claimed, the unmitigated run must visibly turn first. It *holds here* where the interval lies
above 0, and *does not hold here* where it lies below 0 or below the least effect worth the name: a tenth of the baseline's
fall, or what the claim says in its file. A claim that does not hold is a result: LOG.md says why. Decided is what holds or
does not hold; *cannot be shown here* says what is missing.
"""
ORDER = ("holds here", "does not hold here", "cannot be shown here", "not run")


def markdown(found: Iterable[Mapping[str, Any]]) -> str:
    """CLAIMS.md: a count, then every system with its statements, experiments, verdicts and why."""
    systems: dict[str, list[Mapping[str, Any]]] = {}
    for row in found:
        systems.setdefault(row["title"], []).append(row)
    lines = [HEAD, counted(systems), ""]
    for title in sorted(systems, key=str.lower):
        lines += [f"## {title}", ""]
        rows = systems[title]
        for name in dict.fromkeys(r["name"] for r in rows):
            mine = [r for r in rows if r["name"] == name]
            lines += [f"**{name}** — {mine[0]['statement']} *Effect*: {mine[0]['measure']}", ""]
            lines += [said(r) for r in mine] + [""]
    return "\n".join(lines)


def counted(systems: Mapping[str, list[Mapping[str, Any]]]) -> str:
    """How many systems are decided, and how the results fell."""
    found = [r["verdict"] for rows in systems.values() for r in rows]
    decided = sum(any(r["verdict"] in ORDER[:2] for r in rows) for rows in systems.values())
    counts = ", ".join(f"{found.count(v)} {v}" for v in ORDER if v in found)
    return (
        f"{decided} of {len(systems)} systems are decided one way or the other by at least one "
        f"claim. Of {len(found)} results: {counts}."
    )


def said(row: Mapping[str, Any]) -> str:
    """One result: verdict, experiment, effect with interval, why, command."""
    if not row["world"]:
        return "- **not run**"
    effect = "" if row["effect"] is None else f"effect {row['effect']:.3f}"
    effect += "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    return (
        f"- **{row['verdict']}** on {row['world']}, {row['seeds']} seeds, "
        f"{effect or 'no effect'}: {row['why']}. Arms: "
        f"{'; '.join(arm(k, *v) for k, v in row['arms'].items())}. `{row['command']}`"
    )


def arm(label: str, name: str, arguments: Mapping[str, Any]) -> str:
    """An arm as it is run."""
    flags = "".join(
        f" --{k} {v if isinstance(v, str) else json.dumps(v)}" for k, v in arguments.items()
    )
    return f"{label} `{name}{flags}`"
