"""What each method reached, in numbers, as a table and in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.escape import count, number, spread
from assay.records.best import best, state_of
from assay.records.methods import Ground, Method, Track, grounds
from assay.report import watch
from assay.report.lines import above, line
from assay.report.table import Cell, Table, named
from assay.stats.intervals import interval
from assay.stats.readings import beside, drop, final, gold_of, peak, rise


def over(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """(mean, half of the 95 % Student interval) over what was measured."""
    known = [v for v in values if v is not None]
    return interval(known) if known else (None, None)


def _tag_at(m: Method, top: Mapping[str, Any] | None) -> str | None:
    """Which n a best-of-n run peaks at; nothing for other runs or for several."""
    if top is None or len(m.tracks) > 1 or not m.best_of_n:
        return None
    return next((str(r["tag"]) for r in m.tracks[0].readings if r["step"] == top["step"]), None)


def summarise(ground: Ground, m: Method) -> dict[str, Any]:
    """One method in numbers: means over its runs, as JSON values.

    Args:
        ground: The world.
        m: The method.

    Returns:
        A dictionary. `*_half` is half of the 95 % Student interval over seeds, None for one run.
        `peak_source` is "re-read" (the best checkpoint on fresh completions), "highest reading"
        (too high by selection), "peak of the mean curve" (several runs, none read again) or
        "mixed". Reference and end are those of the same fresh completions where there are such
        (`final_source` is then "re-read", else "reading"), as `assay compare` has them.
    """
    tops, lasts = [peak(t.everything) for t in m.tracks], [final(t.readings) for t in m.tracks]
    sources = {t["source"] for t in tops if t}
    source = None if not sources else sources.pop() if len(sources) == 1 else "mixed"
    top, at = (
        over([t["gold"] if t else None for t in tops]),
        over([t["kl"] if t else None for t in tops]),
    )
    ref, _ = over([gold_of(t.everything, "reference") for t in m.tracks])
    fell, end = (
        over([drop(t.everything) for t in m.tracks]),
        over([gold_of(t.everything, "last") for t in m.tracks]),
    )
    rose, _ = over([rise(t.everything) for t in m.tracks])
    if (
        source == "highest reading"
        and len(m.tracks) > 1
        and (mean := line(m, above("gold")))
        and ref is not None
    ):
        source, i = "peak of the mean curve", int(np.argmax(mean.y))
        top, at, rose = (
            (ref + float(mean.y[i]), None),
            (float(mean.x[i] ** 2), None),
            float(mean.y[i]),
        )
        fell = (None if end[0] is None else ref + float(mean.y[i]) - end[0], None)
    proxy = over([r["proxy"] if (r := final(t.readings, "proxy")) else None for t in m.tracks])
    first = over(
        [next((r["proxy"] for r in t.readings if r["proxy"] is not None), None) for t in m.tracks]
    )
    prices = [t.readings[-1]["cost"] or {} for t in m.tracks if t.readings]
    return {
        "world": ground.title,
        "method": m.label,
        "recipe": m.recipe,
        "runs": [t.name for t in m.tracks],
        "seeds": len({t.pair for t in m.tracks}),
        "states": sorted({state_of(t.run) for t in m.tracks}),
        "gold_kind": ground.gold_kind,
        "reference_gold": ref,
        "peak_gold": top[0],
        "peak_gold_half": top[1],
        "peak_source": source,
        "peak_tag": _tag_at(m, tops[0]),
        "peak_kl": at[0],
        "peak_kl_half": at[1],
        "rise": rose,
        "final_gold": end[0],
        "final_gold_half": end[1],
        "final_source": "re-read" if all(_fresh(t) for t in m.tracks) else "reading",
        "final_kl": over([r["kl"] if r else None for r in lasts])[0],
        "drop": fell[0],
        "drop_half": fell[1],
        "proxy_first": first[0],
        "proxy_final": proxy[0],
        "proxy_final_half": proxy[1],
        "kl_kind": next(
            (r["kl_kind"] for t in m.tracks for r in reversed(t.readings) if r["kl_kind"]), None
        ),
        "cost": {k: over([p.get(k) for p in prices])[0] for k in ("generated", "scored")},
        "watch": watch.verdicts(m),
    }


def _fresh(track: Track) -> bool:
    return beside(track.everything, "last") is not None


def signless_zero(text: str) -> str:
    """The same number, where it is written as zero without its sign."""
    head, _, tail = text.partition(" ")
    return text if head.strip("+−0.,") else f"{head.lstrip('+−')} {tail}".rstrip()


@np.errstate(all="ignore")  # what is not finite becomes None, not a warning
def summary(folders: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Every method of every world among these runs, as JSON values (`assay report --json`)."""
    return [
        {**summarise(g, m), "best": [b for t in m.tracks if (b := _best(t))]}
        for g in grounds(folders)
        for m in g.methods
    ]


def _best(track: Track) -> dict[str, Any] | None:
    """The policy that a run comes to, and why; None where nothing was read."""
    if not track.readings:
        return None
    top = best(track.run, track.everything)
    found = {"step": top.step, "tag": top.tag, "chosen_by": top.chosen_by, "reason": top.reason}
    return {"run": track.name, **found}


def bests(ground: Ground) -> Table:
    """Which policy each run comes to, and why."""
    rows: list[list[Cell | str]] = []
    for m in ground.methods:
        for t in m.tracks:
            if t.readings:
                top = best(t.run, t.everything)
                rows.append([named(m, beside=t.name), top.name, top.reason])
    return Table(
        f"The policy that each run comes to, {ground.title}",
        ["run", "best policy", "why"],
        rows,
        "A watch that stopped the run chooses by its labels; without a watch, the "
        f"{ground.gold_name} chooses by its highest reading; else it is the last policy. This "
        "policy is exported and restored.",
    )


def summary_table(ground: Ground) -> Table:
    """The summary as a table, a row a method."""
    rows: list[list[Cell | str]] = []
    for m in ground.methods:
        s = summarise(ground, m)
        state = "" if s["states"] == ["done"] else ", ".join(s["states"])
        source = f"{s['peak_source'] or '–'}{', ' + s['peak_tag'] if s['peak_tag'] else ''}"
        rows.append(
            [
                named(m, state=state),
                count(s["seeds"]),
                number(s["reference_gold"]),
                spread(s["peak_gold"], s["peak_gold_half"]),
                source,
                number(s["peak_kl"]),
                spread(s["final_gold"], s["final_gold_half"]),
                number(s["final_kl"]),
                spread(s["drop"], s["drop_half"]),
                f"{number(s['proxy_first'])} → {number(s['proxy_final'])}",
                f"{count(s['cost']['generated'])} generated, {count(s['cost']['scored'])} scored",
            ]
        )
    g = ground.gold_name
    return Table(
        f"What each method reached, {ground.title}",
        [
            "method",
            "seeds",
            f"reference {g}",
            f"peak {g}",
            "the peak is from",
            "KL there",
            f"final {g}",
            "final KL",
            "drop",
            "proxy, first → last",
            "cost",
        ],
        rows,
        "Means over seeds, ± half of the 95 % Student interval over seeds; one seed has no "
        "interval over seeds. A peak that "
        "was not read again is too high by selection; where it was read again, the last policy "
        "was too, and the drop is "
        "between these two. KL in nats, of the whole completion. Cost: completions that are "
        "generated and scored for one completion of the result. “–”: not measured.",
    )


def findings(ground: Ground) -> list[Cell]:
    """Each method in one sentence: whether its gold turned, and what its proxy did."""
    said = []
    for m in ground.methods:
        s = summarise(ground, m)
        if (
            s["drop"] is None
            or s["reference_gold"] is None
            or all(len(t.readings) < 3 for t in m.tracks)
        ):
            continue
        half = s["drop_half"]
        if half is None and len(m.tracks) == 1:
            both = peak(m.tracks[0].everything), final(m.tracks[0].readings)
            errors = [r["gold_err"] for r in both if r and r["gold_err"] is not None]
            half = 1.96 * float(np.hypot(*errors)) if len(errors) == 2 else None
        of = (
            " (one seed: an interval over prompts)"
            if s["drop_half"] is None and half is not None
            else ""
        )
        gain = number(s["rise"], sign=True)
        where = f" at KL {number(s['peak_kl'])}" if s["peak_kl"] is not None else ""
        up = (
            s["proxy_final"] is not None
            and s["proxy_first"] is not None
            and s["proxy_final"] > s["proxy_first"]
        )
        after = f"{signless_zero(spread(-s['drop'], half, sign=True))} from there to the end{of}"
        if half is None:
            verdict = f"{gain} at its peak{where}, {after}; there is no interval to judge a fall by"
        elif s["drop"] > half:
            verdict = (
                f"{gain} at its peak{where}, then it falls by {spread(s['drop'], half)}{of}"
                + (" while its proxy ends higher than it began" if up else "")
            )
        else:
            verdict = f"{gain} at its peak{where}, {after}: the interval includes zero"
        said.append(named(m, beside=f"{verdict}."))
    return said
