"""Completions of the same prompts side by side: at the reference, at the peak and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.data.escape import number
from assay.records.methods import Ground, Track
from assay.stats.readings import final, peak

LONG = 600  # characters; a longer text is folded after its beginning
MOST = 1_000_000  # of one text that the page carries at all


@dataclass
class Text:
    """A text as a page shows it.

    Attributes:
        text: The whole, or its first million characters; None where there was none.
        head: Its beginning, where the rest is folded away; else "".
        length: Its characters.
        left: How many of them only samples.jsonl has.
    """

    text: str | None
    head: str = ""
    length: int = 0
    left: int = 0


@dataclass
class Stage:
    """One completion at one stage of a run.

    Attributes:
        when: "reference", "peak, step 10" or "end, step 60".
        text: The completion.
        scores: (who, value) of gold, proxy and reward models.
    """

    when: str
    text: Text
    scores: list[tuple[str, str]]


@dataclass
class Prompt:
    """One prompt and its completions."""

    text: Text
    stages: list[Stage]


def text(value: Any) -> Text:
    """A text, folded where it is very long."""
    if value is None:
        return Text(None)
    whole = str(value)
    head = whole[: LONG // 2] if len(whole) > LONG else ""
    return Text(whole[:MOST], head, len(whole), max(0, len(whole) - MOST))


def _scores(row: dict[str, Any], ground: Ground, models: Sequence[str]) -> list[tuple[str, str]]:
    golds = row["golds"] if isinstance(row["golds"], list) and len(row["golds"]) > 1 else []
    said = [(ground.gold_name, row["gold"])]
    if golds:
        said = list(zip([*ground.golds, *["gold"] * len(golds)], golds, strict=False))
    said += [("proxy", row["proxy"])]
    said += [
        (models[j] if j < len(models) else f"reward model {j + 1}", v)
        for j, v in enumerate(row["rewards"] or [])
    ]
    return [(str(k), number(v)) for k, v in said]


def stages(track: Track) -> list[tuple[str, list[dict[str, Any]]]]:
    """(what it is, its completions) for the reference, the peak and the end.

    The peak's completions are the best checkpoint's where it was read again, else those of the
    nearest step that was kept.
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
        best = [r for r in rows if r["tag"] == "best"]
        near = min(steps, key=lambda s: abs(s - top["step"]))
        at = best or [r for r in rows if r["step"] == near and r["tag"] != "best"]
        n = f" ({top['tag']})" if str(top["tag"]).startswith("n=") else ""
        found.append((f"peak, step {at[0]['step']}{n}", at))
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


def completions(ground: Ground, track: Track, prompts: int = 4) -> list[Prompt]:
    """The first prompts, unselected, each at every stage.

    Args:
        ground: The world, with the name of its gold.
        track: The run.
        prompts: Prompts to show, at most.

    Returns:
        One entry a prompt; [] where no completions were kept.
    """
    columns = stages(track)
    if not columns:
        return []
    models = list(track.about.get("rewards") or [])
    at = [
        {str((r["place"] or [i])[0]): r for i, r in reversed(list(enumerate(rows)))}
        for _, rows in columns
    ]
    shown = [p for p in at[-1] if all(p in stage for stage in at)] or list(at[-1])
    out = []
    for p in list(reversed(shown))[:prompts]:
        cells = [
            Stage(what, text(row["completion"]), _scores(row, ground, models))
            for (what, _), stage in zip(columns, at, strict=True)
            if (row := stage.get(p))
        ]
        out.append(Prompt(text(next(stage[p]["prompt"] for stage in at if p in stage)), cells))
    return out
