"""The report's tables: what each method reached, and gold at matched KL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.escape import capital, count, number, safe, spread
from assay.records.methods import Ground, Method, grounds
from assay.report import watch
from assay.report.fits import at_kl, drop, final, path, peak, reference, rise
from assay.report.lines import above, line
from assay.stats.curve_fit import interval

PRESSURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_PLAIN_NAMES = ("leave_one_out", "single", "baseline")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """An HTML table; the cells are markup already. The first column is each row's header."""
    top = "".join(f'<th scope="col">{safe(h)}</th>' for h in head)
    body = "".join(
        f'<tr><th scope="row">{r[0]}</th>' + "".join(f"<td>{c}</td>" for c in r[1:]) + "</tr>"
        for r in rows
    )
    inside = f"<caption>{safe(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    return (
        '<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{safe(caption)}"><table>{inside}</table></div>'
        + (f'<p class="note">{safe(note)}</p>' if note else "")
    )


def name(m: Method) -> str:
    """A method's label with its colour."""
    return f'<span class="key k{m.place % 7}" aria-hidden="true"></span>{safe(m.label)}'


def _over(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [v for v in values if v is not None]
    return interval(known) if known else (None, None)


def _tag_at(m: Method, top: Mapping[str, Any] | None) -> str | None:
    """Which n a best-of-n run peaks at; nothing for other runs or for several."""
    if top is None or len(m.tracks) > 1 or not m.best_of_n:
        return None
    return next((str(r["tag"]) for r in m.tracks[0].readings if r["step"] == top["step"]), None)


def summarise(ground: Ground, m: Method) -> dict[str, Any]:
    """One method in numbers. Means over its runs; `*_half` is the half-width of the 95 % Student
    interval over seeds, null for one run. `peak_source`: "re-read" (the chosen checkpoint on fresh
    answers), "highest reading" (too high by selection), "peak of the mean curve" (several runs,
    none read again) or "mixed".
    """
    tops, lasts = [peak(t.everything) for t in m.tracks], [final(t.readings) for t in m.tracks]
    sources = {t["source"] for t in tops if t}
    source = None if not sources else sources.pop() if len(sources) == 1 else "mixed"
    top, at = (
        _over([t["gold"] if t else None for t in tops]),
        _over([t["kl"] if t else None for t in tops]),
    )
    ref, _ = _over([r["gold"] if (r := reference(t.readings)) else None for t in m.tracks])
    fell, end = (
        _over([drop(t.everything) for t in m.tracks]),
        _over([r["gold"] if r else None for r in lasts]),
    )
    rose, _ = _over([rise(t.everything) for t in m.tracks])
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
    proxy = _over([r["proxy"] if (r := final(t.readings, "proxy")) else None for t in m.tracks])
    first = _over(
        [next((r["proxy"] for r in t.readings if r["proxy"] is not None), None) for t in m.tracks]
    )
    prices = [t.readings[-1]["cost"] or {} for t in m.tracks if t.readings]
    return {
        "world": ground.title,
        "method": m.label,
        "recipe": m.recipe,
        "runs": [t.name for t in m.tracks],
        "seeds": len({t.pair for t in m.tracks}),
        "states": sorted({str(t.about.get("state")) for t in m.tracks}),
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
        "final_kl": _over([r["kl"] if r else None for r in lasts])[0],
        "drop": fell[0],
        "drop_half": fell[1],
        "proxy_first": first[0],
        "proxy_final": proxy[0],
        "proxy_final_half": proxy[1],
        "kl_kind": next(
            (r["kl_kind"] for t in m.tracks for r in reversed(t.readings) if r["kl_kind"]), None
        ),
        "cost": {k: _over([p.get(k) for p in prices])[0] for k in ("generated", "scored")},
        "watch": watch.verdicts(m),
    }


def summary(folders: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Every method of every world among these runs, as JSON values: what `--json` prints and a
    run's last table shows.
    """
    return [summarise(g, m) for g in grounds(folders) for m in g.methods]


def summary_table(ground: Ground) -> str:
    """The summary as a table, a row a method."""
    rows = []
    for m in ground.methods:
        s = summarise(ground, m)
        state = (
            ""
            if s["states"] == ["done"]
            else f' <span class="state">{safe(", ".join(s["states"]))}</span>'
        )
        source = f"{s['peak_source'] or '–'}{', ' + s['peak_tag'] if s['peak_tag'] else ''}"
        rows.append(
            [
                name(m) + state,
                count(s["seeds"]),
                number(s["reference_gold"]),
                spread(s["peak_gold"], s["peak_gold_half"]),
                safe(source),
                number(s["peak_kl"]),
                spread(s["final_gold"], s["final_gold_half"]),
                number(s["final_kl"]),
                spread(s["drop"], s["drop_half"]),
                f"{number(s['proxy_first'])} → {number(s['proxy_final'])}",
                f"{count(s['cost']['generated'])} / {count(s['cost']['scored'])}",
            ]
        )
    g = ground.gold_name
    return table(
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
        "interval over seeds. A peak that was not read again is too high by selection; where it "
        "was, the last policy was too, and the drop is between these two. KL in nats, of the "
        "whole answer. Price: answers drawn / judged for one answer of the result. “–”: not "
        "measured.",
    )


def findings(ground: Ground) -> list[str]:
    """Each method in one sentence: whether its gold turned, judged by intervals, and what its proxy
    did meanwhile.
    """
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
        after = f"{spread(-s['drop'], half, sign=True)} from there to the end{of}"
        if half is None:
            verdict = f"{gain} at its peak{where}, {after}; there is no interval to judge a fall by"
        elif s["drop"] > half:
            verdict = (
                f"{gain} at its peak{where}, then it falls by {spread(s['drop'], half)}{of}"
                + (" while its proxy ends higher than it began" if up else "")
            )
        else:
            verdict = (
                f"{gain} at its peak{where}, {after}: no fall that the interval can tell from none"
            )
        said.append(f"<li>{name(m)}: {safe(verdict)}.</li>")
    return said


def pressures(ground: Ground) -> tuple[list[float], str | None]:
    """Up to five round KL values that every run here reached, and the run that limits them."""
    limits = []
    for t in ground.tracks:
        d, _ = path(t.readings)
        if len(d) > 1:
            limits.append((float(d.max()) ** 2, float(d[0]) ** 2, t.name))
    if not limits:
        return [], None
    most, who = min(limits)[0], min(limits)[2]
    least = max(low for _, low, _ in limits)
    inside = [p for p in PRESSURES if max(least, 1e-9) <= p <= most]
    return inside[-5:], who


def _visited(m: Method) -> bool:
    return any(len(path(t.readings)[0]) > 1 for t in m.tracks)


def baseline_of(ground: Ground, asked: str | None) -> Method:
    """The method that others are compared with, among those with a KL: the one asked for, else a
    plain one by name, else the first.
    """
    able = [m for m in ground.methods if _visited(m)]
    named = next(
        (
            m
            for w in ((asked,) if asked else _PLAIN_NAMES)
            for m in able
            if w in (m.label, m.recipe)
        ),
        None,
    )
    return named or able[0]


def matched(ground: Ground, asked: str | None = None) -> str:
    """Gold at equal KL, and the paired difference from the baseline. "" where no run has both gold
    and KL.
    """
    ks, who = pressures(ground)
    if not ks:
        alone = f"{who} ends before any KL that all runs reached: there is nothing to match."
        return f'<p class="note">{safe(alone)}</p>' if who else ""
    base = baseline_of(ground, asked)
    theirs = {t.pair: t for t in base.tracks}
    rows = []
    for m in ground.methods:
        if not _visited(m):
            continue
        cells = []
        for kl in ks:
            cell = spread(*_over([at_kl(t.readings, kl) for t in m.tracks]))
            pairs = [
                (at_kl(t.readings, kl), at_kl(theirs[t.pair].readings, kl))
                for t in m.tracks
                if t.pair in theirs
            ]
            gaps = [a - b for a, b in pairs if a is not None and b is not None]
            if m is not base and gaps:
                gap, half = interval(gaps)
                sure = ' class="sure"' if half is not None and abs(gap) > half else ""
                cell += f"<br><small{sure}>{spread(gap, half, sign=True)}{'' if half is not None else ' (one seed)'}</small>"
            cells.append(cell)
        rows.append([name(m), count(len({t.pair for t in m.tracks})), *cells])
    return table(
        f"{capital(ground.gold_name)} at matched KL, {ground.title}",
        ["method", "seeds", *[f"KL {kl:g}" for kl in ks]],
        rows,
        "Read where each run first reaches that KL, linear between two readings, never beyond a "
        f"run’s range ({who} ends first). Small: the difference from {base.label}, paired by "
        "seed, with its 95 % Student interval over pairs; bold where that leaves out 0. One "
        "seed: no interval over seeds.",
    )
