"""The report's tables: the summary, gold at matched KL, Gao's forms in words, what it cost, where it came from."""
from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.report.escape import number, safe, spread
from assay.report.fits import Fit, at_kl, drop, final, fit, interval, path, peak, reference, tie
from assay.report.lines import above, line, points
from assay.report.records import Ground, Method, Track, flat, grounds

PRESSURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_PLAIN_NAMES = ("leave_one_out", "single", "baseline")


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """An HTML table; the cells are markup already. The first column is each row's header."""
    top = "".join(f'<th scope="col">{safe(h)}</th>' for h in head)
    body = "".join(f'<tr><th scope="row">{r[0]}</th>' + "".join(f"<td>{c}</td>" for c in r[1:]) + "</tr>" for r in rows)
    return (f'<div class="scroll" role="region" tabindex="0" aria-label="{safe(caption)}"><table><caption>{safe(caption)}</caption>'
            f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>" + (f'<p class="note">{note}</p>' if note else ""))


def name(m: Method) -> str:
    """A method's label with its colour."""
    return f'<span class="key k{m.place % 7}" aria-hidden="true"></span>{safe(m.label)}'


def _over(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [v for v in values if v is not None]
    return interval(known) if known else (None, None)


def summarise(ground: Ground, m: Method) -> dict[str, Any]:
    """One method in numbers. Means over its runs; `*_half` is the half-width of the 95 % Student interval over seeds,
    null for one run. `peak_source`: "re-read" (the chosen checkpoint on fresh answers), "highest reading" (too high by
    selection), "peak of the mean curve" (several runs, none read again) or "mixed"."""
    tops, lasts = [peak(t.everything) for t in m.tracks], [final(t.readings) for t in m.tracks]
    starts = [r["gold"] if (r := reference(t.readings)) else None for t in m.tracks]
    sources = {t["source"] for t in tops if t}
    source = None if not sources else sources.pop() if len(sources) == 1 else "mixed"
    top, top_half = _over([t["gold"] if t else None for t in tops])
    at, at_half = _over([t["kl"] if t else None for t in tops])
    ref, _ = _over(starts)
    fell, fell_half = _over([drop(t.everything) for t in m.tracks])
    end, end_half = _over([r["gold"] if r else None for r in lasts])
    if source == "highest reading" and len(m.tracks) > 1 and (mean := line(m, above("gold"))) and ref is not None:
        source, i = "peak of the mean curve", int(np.argmax(mean.y))
        top, at, top_half, at_half = ref + float(mean.y[i]), float(mean.x[i] ** 2), None, None
        fell, fell_half = (None, None) if end is None else (top - end, None)
    ends = [final(t.readings, "proxy") for t in m.tracks]
    proxy, proxy_half = _over([r["proxy"] if r else None for r in ends])
    first, _ = _over([next((r["proxy"] for r in t.readings if r["proxy"] is not None), None) for t in m.tracks])
    prices = [t.readings[-1]["price"] or {} for t in m.tracks if t.readings]
    return {"world": ground.title, "method": m.label, "recipe": m.recipe, "runs": [t.name for t in m.tracks],
            "seeds": len({t.pair for t in m.tracks}), "states": sorted({str(t.about.get("state")) for t in m.tracks}),
            "gold_kind": ground.gold_kind, "reference_gold": ref, "peak_gold": top, "peak_gold_half": top_half,
            "peak_source": source, "peak_kl": at, "peak_kl_half": at_half, "peak_tag": tops[0]["tag"] if len(tops) == 1 and tops[0] else None,
            "final_gold": end, "final_gold_half": end_half, "final_kl": _over([r["kl"] if r else None for r in lasts])[0],
            "drop": fell, "drop_half": fell_half, "proxy_first": first, "proxy_final": proxy, "proxy_final_half": proxy_half,
            "kl_kind": next((r["kl_kind"] for t in m.tracks for r in reversed(t.readings) if r["kl_kind"]), None),
            "price": {k: _over([p.get(k) for p in prices])[0] for k in ("drawn", "judged")}}


def summary(folders: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Every method of every world among these runs, as JSON values: what `--json` prints and a run's last table shows."""
    return [summarise(g, m) for g in grounds(folders) for m in g.methods]


def summary_table(ground: Ground) -> str:
    rows = []
    for m in ground.methods:
        s = summarise(ground, m)
        states = "" if s["states"] == ["done"] else f' <span class="state">{safe(", ".join(s["states"]))}</span>'
        tag = f" at {safe(s['peak_tag'])}" if s["peak_tag"] and str(s["peak_tag"]).startswith("n=") else ""
        rows.append([name(m) + states, str(s["seeds"]), number(s["reference_gold"]), spread(s["peak_gold"], s["peak_gold_half"]),
                     safe(s["peak_source"] or "–") + tag, number(s["peak_kl"]), spread(s["final_gold"], s["final_gold_half"]), number(s["final_kl"]),
                     spread(s["drop"], s["drop_half"]), f"{number(s['proxy_first'])} → {number(s['proxy_final'])}",
                     f"{number(s['price']['drawn'])} / {number(s['price']['judged'])}"])
    g = ground.gold_name
    return table(f"What each method reached, {ground.title}",
                 ["method", "seeds", f"reference {g}", f"peak {g}", "the peak is from", "KL there", f"final {g}", "final KL", "drop",
                  "proxy, first → last", "one answer: drawn / judged"], rows,
                 "Means over seeds, ± half of the 95 % Student interval over seeds; a single seed has no interval over seeds. A peak that was not "
                 "read again is too high by selection. KL in nats, of the whole answer. “–”: not measured.")


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


def baseline_of(ground: Ground, asked: str | None) -> Method:
    """The method that others are compared with: the one asked for, else a plain one by name, else the first."""
    wanted = (asked,) if asked else _PLAIN_NAMES
    return next((m for w in wanted for m in ground.methods if w in (m.label, m.recipe)), ground.methods[0])


def matched(ground: Ground, asked: str | None = None) -> str:
    """Gold at equal KL, and the paired difference from the baseline where two seeds or more are shared."""
    ks, who = pressures(ground)
    if not ks:
        return ""
    base, rows = baseline_of(ground, asked), []
    theirs = {t.pair: t for t in base.tracks}
    for m in ground.methods:
        if not any(len(path(t.readings)[0]) > 1 for t in m.tracks):
            continue
        cells = []
        for kl in ks:
            mean, half = _over([at_kl(t.readings, kl) for t in m.tracks])
            cell = spread(mean, half)
            pairs = [(at_kl(t.readings, kl), at_kl(theirs[t.pair].readings, kl)) for t in m.tracks if t.pair in theirs]
            gaps = [a - b for a, b in pairs if a is not None and b is not None]
            if m is not base and gaps:
                gap, width = interval(gaps)
                sure = " class=\"sure\"" if width is not None and abs(gap) > width else ""
                cell += f"<br><small{sure}>{spread(gap, width, sign=True)}{'' if width is not None else ' (one seed)'}</small>"
            cells.append(cell)
        rows.append([name(m), str(len({t.pair for t in m.tracks})), *cells])
    return table(f"{ground.gold_name.capitalize()} at matched KL, {ground.title}", ["method", "seeds", *[f"KL {kl:g}" for kl in ks]], rows,
                 f"Read where each run first reaches that KL, linear between two readings, never beyond a run's range ({safe(who)} ends first). "
                 f"Small: the difference from {safe(base.label)}, paired by seed, with its 95 % Student interval over pairs; in bold where that "
                 f"leaves out 0. One seed: no interval over seeds can be given.")


def fits_of(m: Method) -> list[Fit]:
    """Both forms, the one meant for this optimiser first; [] with too few readings."""
    runs = []
    for t in m.tracks:
        x, y, err, _ = points(t, above("gold"), "kl")
        runs.append((x, y, None if not np.isfinite(err).all() else err))
    forms = ("best-of-n", "rl") if m.best_of_n else ("rl", "best-of-n")
    found = [fit(runs, form) for form in forms]
    return [f for f in found if f is not None] if all(found) else []


def verdict(fits: Sequence[Fit], gold: str = "gold") -> str:
    """What the fits say, in plain words: whether there is a turn in range, and whether the right form does better."""
    right, wrong = fits
    end = right.range[1]
    if right.d_peak is None:
        turn = f"No turn: fitted {gold} has no maximum."
    elif right.d_peak > end:
        turn = f"No turn in range: fitted {gold} would peak at √KL {number(right.d_peak)}, beyond the {number(end)} that was reached."
    else:
        turn = f"Fitted {gold} peaks at √KL {number(right.d_peak)} and turns within the range."
    if right.with_peak <= 0.9 and right.d_peak is not None:
        turn += f" Only {100 * right.with_peak:.0f} % of resamples have a peak, so it has no interval."
    if not (math.isfinite(right.held_out) and math.isfinite(wrong.held_out)):
        return turn
    if tie(right, wrong):
        return f"{turn} The two forms tie on held-out readings: these do not tell them apart."
    better = "predicts held-out readings better than" if right.held_out < wrong.held_out else "predicts held-out readings worse than"
    return f"{turn} The form meant for this optimiser {better} the other one."


def fits_table(ground: Ground, fits: dict[str, list[Fit]]) -> str:
    def within(x: float | None, ends: tuple[float, float] | None) -> str:
        return number(x) + (f"<br><small>{number(ends[0])} … {number(ends[1])}</small>" if ends and x is not None else "")

    rows = [[name(m), "d(α − βd)" if f.form == "best-of-n" else "d(α − β log d)", within(f.alpha, f.alpha_interval), within(f.beta, f.beta_interval),
             within(f.d_peak, f.d_interval), within(f.r_peak, f.r_interval), number(f.held_out), number(other.held_out), str(f.points)]
            for m in ground.methods if m.label in fits for f, other in [fits[m.label]]]
    weighted = {f.weighted for pair in fits.values() for f in pair}
    return table(f"Gao's forms fitted, {ground.title}",
                 ["method", "its form", "α", "β", "d at the peak", "height of the peak", "held-out RMSE", "the other form's", "readings"], rows,
                 f"{ground.gold_name.capitalize()} above the reference against d = √KL by linear least squares without intercept, readings with d &lt; 0.3 "
                 f"dropped (there d log d is all slope), weights {'1/err²' if weighted == {True} else 'equal where errors are missing or 0'}; small: 95 % "
                 f"bootstrap over readings (and over runs, from five on). Held out: every third reading in turn.")


def costs(ground: Ground) -> str:
    keys = ("drawn", "judged", "compared", "labels", "updates", "seconds")
    rows = []
    for t, m in ((t, m) for m in ground.methods for t in m.tracks):
        last = t.readings[-1] if t.readings else {}
        price = last.get("price") or {}
        stats = last.get("stats") or {}
        rows.append([f"{name(m)} <small>{safe(t.name)}</small>", *[number(last.get(k), 6 if k != "seconds" else 3) for k in keys],
                     f"{number(price.get('drawn'))} / {number(price.get('judged'))}", number(stats.get("read/length")), number(stats.get("read/truncated"))])
    return table(f"What it cost, {ground.title}", ["run", "answers drawn", "scores", "pairs compared", "gold labels", "updates", "seconds",
                                                   "one answer: drawn / judged", "mean length at the end", "share cut off"], rows,
                 "Counted over the whole optimisation, reading left out. The last “one answer” is what a single answer costs whoever uses the result.")


def faults(ground: Ground) -> list[str]:
    """What went wrong or is missing, a sentence each."""
    said = []
    for t in ground.tracks:
        about, seen = t.about, [(r.get("stats") or {}) for r in t.readings]
        skipped = sum(s.get("skipped") or 0 for s in seen)
        cut = max((s.get("read/truncated") or 0 for s in seen), default=0)
        state, steps = about.get("state"), (about.get("loop") or {}).get("steps")
        if state == "failed":
            said.append(f"{t.name} failed: {about.get('error') or 'no reason was recorded'}.")
        elif state != "done":
            said.append(f"{t.name} is {state}: read up to step {t.readings[-1]['step'] if t.readings else '–'}{f' of {steps}' if steps else ''}.")
        if not t.readings:
            said.append(f"{t.name} has no reading yet.")
        elif reference(t.readings) is None:
            said.append(f"{t.name} has no reading of the reference, so its {ground.gold_name} above it is counted from its first reading.")
        if skipped:
            said.append(f"{t.name} skipped {skipped:.0f} steps that were not finite.")
        if cut >= 0.05:
            said.append(f"{t.name} had up to {100 * cut:.0f} % of its answers cut off at the length limit.")
        if about.get("replayable") is False:
            said.append(f"{t.name} cannot be replayed: its sampler does not promise the same answer twice.")
    commits = {str(t.about.get("commit")) for t in ground.tracks}
    if len(commits) > 1:
        said.append(f"These runs come from {len(commits)} commits of the code: {', '.join(sorted(c[:12] for c in commits))}.")
    return said


def provenance(track: Track) -> str:
    """Everything run.json says, as a folded table."""
    rows = [[safe(k), f"<code>{safe(v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))}</code>"]
            for k, v in flat({k: v for k, v in track.about.items() if k != "paper"}).items()]
    return (f"<details><summary>{safe(track.name)} <small>{safe(track.about.get('recipe'))}, {safe(track.about.get('state'))}</small></summary>"
            + table(f"Record of {track.name}", ["entry", "value"], rows) + "</details>")
