"""Answers side by side: the reference, the peak and the end, for the same prompts, so that a person
can see the hack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.data.escape import marked, number, safe
from assay.records.methods import Ground, Track
from assay.report.fits import final, peak

LONG = 600  # characters; a longer answer is folded after its beginning
MOST = 1_000_000  # of one answer that the page carries at all


def _text(answer: Any) -> str:
    """An answer as hostile text, isolated in its direction, folded where it is very long."""
    if answer is None:
        return '<p class="none">–</p>'
    text = str(answer)
    if not text:
        return '<p class="none">(empty)</p>'
    if len(text) <= LONG:
        return f'<div class="answer" dir="auto">{marked(text)}</div>'
    left = (
        f" Cut here: {len(text) - MOST:,} characters more are in samples.jsonl."
        if len(text) > MOST
        else ""
    )
    return (
        f'<div class="answer" dir="auto">{marked(text[: LONG // 2])}…</div><details><summary>all '
        f"{len(text):,} characters"
        f'</summary><div class="answer" dir="auto">{marked(text[:MOST])}</div>{left}</details>'
    )


def _scores(row: dict[str, Any], ground: Ground, judges: Sequence[str]) -> str:
    golds = row["golds"] if isinstance(row["golds"], list) and len(row["golds"]) > 1 else []
    said = (
        list(zip([*ground.golds, *["gold"] * len(golds)], golds, strict=False))
        if golds
        else [(ground.gold_name, row["gold"])]
    )
    said += [("proxy", row["proxy"])]
    said += [
        (judges[j] if j < len(judges) else f"judge {j + 1}", v)
        for j, v in enumerate(row["rewards"] or [])
    ]
    return (
        '<dl class="scores">'
        + "".join(f"<div><dt>{safe(k)}</dt><dd>{number(v)}</dd></div>" for k, v in said)
        + "</dl>"
    )


def stages(track: Track) -> list[tuple[str, list[dict[str, Any]]]]:
    """(what it is, its answers) for the reference, the peak and the end, from the steps whose
    answers were kept.

    The peak's answers are the chosen checkpoint's where it was read again, else those kept nearest
    to its step.
    """
    rows = track.samples
    steps = sorted({r["step"] for r in rows if r["tag"] != "best"})
    if not steps:
        return []
    top, end = (
        peak(track.everything),
        final(track.readings) or (track.readings[-1] if track.readings else None),
    )
    found = [("reference", [r for r in rows if r["step"] == 0 and r["tag"] != "best"])]
    if top is not None:
        chosen = [r for r in rows if r["tag"] == "best"]
        near = min(steps, key=lambda s: abs(s - top["step"]))
        at = chosen or [r for r in rows if r["step"] == near and r["tag"] != "best"]
        found.append(
            (
                f"peak, step {at[0]['step']}"
                + (f" ({top['tag']})" if str(top["tag"]).startswith("n=") else ""),
                at,
            )
        )
    if end is not None:
        near = min(steps, key=lambda s: abs(s - end["step"]))
        found.append(
            (f"end, step {near}", [r for r in rows if r["step"] == near and r["tag"] != "best"])
        )
    named: dict[str, list[dict[str, Any]]] = {}
    for what, kept in found:
        if kept and (what == "reference" or kept is not named.get("reference")):
            named[what] = kept
    return list(named.items())


def answers(ground: Ground, track: Track, prompts: int = 4) -> str:
    """The first prompts kept, unselected; one column a stage. "" where no answers were kept."""
    columns = stages(track)
    if not columns:
        return ""
    judges = list(track.about.get("rewards") or [])
    at = [
        {str((r["place"] or [i])[0]): r for i, r in reversed(list(enumerate(rows)))}
        for _, rows in columns
    ]
    shown = [p for p in at[-1] if all(p in stage for stage in at)] or list(at[-1])
    blocks = []
    for p in list(reversed(shown))[:prompts]:
        cells = "".join(
            '<div class="stage"><p '
            f'class="when">{safe(what)}</p>{_text(row["completion"])}{_scores(row, ground, judges)}</div>'
            for (what, _), stage in zip(columns, at, strict=True)
            if (row := stage.get(p))
        )
        prompt = next(stage[p]["prompt"] for stage in at if p in stage)
        asked = f'<div class="asked"><b>Prompt</b> {_text(prompt)}</div>'
        blocks.append(f'<div class="prompt">{asked}<div class="stages">{cells}</div></div>')
    return "".join(blocks)
