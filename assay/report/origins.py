"""What the runs cost, what went wrong in them, and where they came from."""

from __future__ import annotations

import json

from assay.data.escape import count, number, safe
from assay.records.methods import Ground, Track, flat
from assay.report.fits import reference
from assay.report.tables import name, table


def costs(ground: Ground) -> str:
    """What each run spent by its last reading, and what its answers had become."""
    counted = ("generated", "scored", "compared", "labels", "updates")
    rows = []
    for m in ground.methods:
        for t in m.tracks:
            last = t.readings[-1] if t.readings else {}
            price, stats = last.get("cost") or {}, last.get("stats") or {}
            rows.append(
                [
                    f"{name(m)} <small>{safe(t.name)}</small>",
                    *[count(last.get(k)) for k in counted],
                    number(last.get("seconds")),
                    f"{count(price.get('generated'))} / {count(price.get('scored'))}",
                    number(stats.get("read/length")),
                    number(stats.get("read/truncated")),
                ]
            )
    return table(
        f"What it cost, {ground.title}",
        [
            "run",
            "answers drawn",
            "scores",
            "pairs compared",
            "gold labels",
            "updates",
            "seconds",
            "one answer: drawn / judged",
            "mean length at the end",
            "share cut off",
        ],
        rows,
        "Counted over the whole optimisation; reading is not counted. “One answer” is what a "
        "single answer costs whoever uses the result.",
    )


def faults(ground: Ground) -> list[str]:
    """What went wrong or is missing: a sentence a run for what is its own, a sentence for all where
    runs share a fault.
    """
    said = []
    skipped: dict[str, str] = {}
    cut: dict[str, str] = {}
    for t in ground.tracks:
        about, stats = t.about, [r["stats"] or {} for r in t.readings]
        state, steps = about.get("state"), (about.get("loop") or {}).get("max_steps")
        if state == "failed":
            said.append(f"{t.name} failed: {about.get('error') or 'no reason was recorded'}.")
        elif state != "done":
            last = f"read up to step {t.readings[-1]['step']}" if t.readings else "nothing read yet"
            said.append(
                f"{t.name} is {state}: {last}{f' of {steps}' if steps and t.readings else ''}."
            )
        if t.readings and reference(t.readings) is None:
            said.append(
                f"{t.name} has no reading of the reference; its {ground.gold_name} is counted from "
                "its first reading."
            )
        if about.get("replayable") is False:
            said.append(
                f"{t.name} cannot be replayed: its sampler does not promise the same answer twice."
            )
        if steps_lost := sum(s.get("skipped") or 0 for s in stats):
            skipped[t.name] = count(steps_lost)
        if (most := max((s.get("read/truncated") or 0 for s in stats), default=0)) >= 0.05:
            cut[t.name] = f"{100 * most:.0f} %"
    for what, runs in (
        ("Steps skipped because they were not finite", skipped),
        ("Answers cut off at the length limit, at worst", cut),
    ):
        if runs:
            said.append(f"{what}: {', '.join(f'{k} {v}' for k, v in runs.items())}.")
    commits = sorted({str(t.about.get("commit")) for t in ground.tracks})
    if len(commits) > 1:
        said.append(
            f"These runs come from {len(commits)} commits of the code: "
            f"{', '.join(c[:12] for c in commits)}."
        )
    return said


def provenance(track: Track) -> str:
    """Everything run.json says, as a folded table."""
    rows = [
        [
            safe(k),
            f"<code>{safe(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))}</code>",
        ]
        for k, v in flat({k: v for k, v in track.about.items() if k != "paper"}).items()
    ]
    what = f"{track.about.get('recipe') or '–'}, {track.about.get('state') or '–'}"
    return (
        f"<details><summary>{safe(track.name)} <small>{safe(what)}</small></summary>"
        + table(f"Record of {track.name}", ["entry", "value"], rows)
        + "</details>"
    )
