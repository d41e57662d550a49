"""Methods side by side at one budget: what each reached, what it cost, and paired differences from
three baselines.

Reads run folders as `assay sweep` writes them; numpy and the standard library alone, so a finished
sweep is compared where no torch is. The baselines of every method:

    plain     the baseline as it is
    tuned     the same with a price on KL (runs of another recipe that is the baseline at price 0): for each seed the setting
              that was best on the *other* seeds, the price 0 among them, so that no seed chooses for itself; tuned for the
              end where ends are compared, for the peak where peaks are
    stopped   the plain baseline at its own best checkpoint, which gold chose: stopping early, as well as it can be done

Differences are paired by seed (the run's and the world's), with 95 % Student intervals; over many
methods Holm's step-down says which are sure. Peak and end are read on the same fresh answers, so
neither is chosen by its own noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.methods import Ground, Method, Track, grounds
from assay.stats.curve_fit import interval, within
from assay.stats.effects import curve, drop, matched_gain, peak

BUDGETS = ("generated", "scored", "updates")
PRICED = ("kl_in_loss", "kl_in_reward")
# budgets that differ by less are equal: a method may draw a few answers to calibrate itself
SLACK = 0.05
LEAST = 5  # paired seeds below which nothing is called sure
AGAINST = {  # name: what it says, over a method's cell and the baseline's
    "matched": "gold at equal KL, from plain",
    "peak_plain": "peak, from plain's peak (both stopped at their best)",
    "peak_tuned": "peak, from tuned's peak",
    "final_plain": "end, from plain's end",
    "final_tuned": "end, from tuned's end",
    "final_stopped": "end, from plain stopped at its best",
}


@dataclass
class Cell:
    """One method on one seed: a finished run with both its looks at fresh answers."""

    track: Track
    reached: dict[str, float]
    cost: dict[str, float]


@dataclass
class Row:
    """A method and its cells by seed pair. `choices`: the setting taken for each seed, where it was
    tuned on the others; `edge`: the largest or smallest setting tried was taken somewhere, so the
    best may lie beyond.
    """

    label: str
    recipe: str
    cells: dict[str, Cell]
    settings: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    edge: str = ""


def compare(
    folders: Sequence[Path | str],
    *,
    baseline: str,
    tuned: str | None = None,
    budget: str = "generated",
    apart: bool = False,
) -> tuple[dict[str, Any], list[tuple[Ground, list[Row], Row]]]:
    """The comparison as JSON values, and its rows for drawing: (world, rows with the tuned ones,
    the plain baseline's).

    baseline: a recipe, or the label of one of its settings; tuned: the recipe whose settings are
    the prices on KL, None for the first there is of PRICED; budget: the count that must be equal;
    apart: list methods of another budget instead of refusing them all. Raises InputError.
    """
    if budget not in BUDGETS:
        raise InputError(f"--budget is '{budget}'; it is one of {', '.join(BUDGETS)}")
    worlds, drawn = [], []
    for ground in grounds(folders):
        found, rows, plain = _world(ground, baseline, tuned, budget, apart)
        worlds.append(found)
        drawn.append((ground, rows, plain))
    return {"made_by": "assay compare", "baseline": baseline, "worlds": worlds}, drawn


def _world(
    ground: Ground, baseline: str, tuned: str | None, budget: str, apart: bool
) -> tuple[dict[str, Any], list[Row], Row]:
    rows, missing = [], []
    pairs = sorted({t.pair for t in ground.tracks}, key=_seed)
    for m in ground.methods:
        cells, gaps = _cells(m, pairs)
        missing += gaps
        rows.append(Row(m.label, m.recipe, cells, m.settings))
    plain = _baseline(ground, rows, baseline)
    rows, aside = _equal(ground, rows, plain, budget, apart)
    prices = next(
        (
            p
            for p in ((tuned,) if tuned else PRICED)
            if any(r.recipe == p and r.cells for r in rows)
        ),
        None,
    )
    if tuned and prices is None:
        raise InputError(
            f"{ground.title} has no finished run of {tuned} to tune a price of KL with; sweep it "
            "over its price"
        )
    several = [
        name
        for name in dict.fromkeys(r.recipe for r in rows)
        if name == prices or (name != plain.recipe and sum(r.recipe == name for r in rows) > 1)
    ]
    best = {
        (name, by): _tuned(
            [r for r in rows if r.recipe == name], name, by, plain if name == prices else None
        )
        for name in several
        for by in ("final", "peak")
    }
    price = {by: best[prices, by] for by in ("final", "peak")} if prices else {}
    every = [plain, *best.values(), *[r for r in rows if r is not plain and r.cells]]
    told = [_told(r, plain, price) for r in every]
    _holm(told)
    return (
        {
            "world": ground.title,
            "gold": ground.gold_name,
            "baseline": plain.label,
            "price": prices,
            "seeds": len(pairs),
            "budget": {"unit": budget, "value": _budget(plain, budget)},
            "methods": told,
            "apart": aside,
            "missing": missing,
        },
        every,
        plain,
    )


def _seed(pair: str) -> tuple[int, str]:
    return len(pair), pair


def _cells(m: Method, pairs: Sequence[str]) -> tuple[dict[str, Cell], list[dict[str, Any]]]:
    """A method's finished cells, and what is missing of it and why."""
    cells: dict[str, Cell] = {}
    gaps = []
    there = {t.pair: t for t in m.tracks}
    for pair in pairs:
        t = there.get(pair)
        why = _unfit(t)
        if t is None or why:
            gaps.append({"method": m.label, "seed": pair, "why": why})
            continue
        cells[pair] = _cell(t)
    return cells, gaps


def _unfit(t: Track | None) -> str | None:
    """Why a run is no cell, or None."""
    if t is None:
        return "there is no run"
    state = t.about.get("state")
    if state != "done":
        return (
            f"{state}: {t.about['error']}"
            if t.about.get("error")
            else f"the run's state is {state}"
        )
    if (
        t.chosen is None
        or t.chosen["gold"] is None
        or t.chosen["stats"].get("fresh/gold_last") is None
    ):
        return "its best checkpoint was not read again"
    return None


def _cell(t: Track) -> Cell:
    every, last = t.everything, t.readings[-1]
    reached = {
        "peak": peak(every),
        "final": peak(every) - drop(every),
        "drop": drop(every),
        "reference": float(t.everything[-1]["stats"]["fresh/gold_reference"]),
    }
    for name, kl in (("peak_kl", every[-1]["kl"]), ("final_kl", last["kl"])):
        if kl is not None:
            reached[name] = max(0.0, float(kl))
    cost = {
        k: float(last[k])
        for k in ("generated", "scored", "labels", "updates", "seconds")
        if last.get(k) is not None
    }
    return Cell(t, reached, cost)


def _baseline(ground: Ground, rows: Sequence[Row], name: str) -> Row:
    fit = [r for r in rows if r.label == name] or [r for r in rows if r.recipe == name]
    if not fit:
        raise InputError(
            f"{ground.title} has no run of the baseline {name}; it has "
            f"{', '.join(r.label for r in rows)}"
        )
    if len(fit) > 1:
        raise InputError(
            f"the baseline {name} is there in {len(fit)} settings; name one of "
            f"{', '.join(r.label for r in fit)}"
        )
    if not fit[0].cells:
        raise InputError(f"no run of the baseline {name} is finished in {ground.title}")
    return fit[0]


def _budget(row: Row, unit: str) -> float:
    return next(iter(row.cells.values())).cost[unit]


def _equal(
    ground: Ground, rows: Sequence[Row], plain: Row, unit: str, apart: bool
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows that spent what the baseline spent and were read as often; the others, where they
    may be set apart.
    """
    kept, aside = [], []
    looks = ("eval_generations", "eval_steps")
    first = next(iter(plain.cells.values()))
    want = _budget(plain, unit)
    for row in rows:
        why = None
        for c in row.cells.values():
            if abs(c.cost[unit] - want) > SLACK * want:
                why = f"{unit} {c.cost[unit]:g} where the baseline {plain.label} has {want:g}"
            for k in looks:
                mine, theirs = c.track.about["run"].get(k), first.track.about["run"].get(k)
                if mine != theirs:
                    why = f"--{k.replace('_', '-')} {mine} where the baseline {plain.label} was read with {theirs}"
        if why and not apart:
            raise InputError(
                f"{row.label} in {ground.title} has another budget ({why}), and unequal budgets "
                "are not compared; run it again with an equal one, or give --apart to list such "
                "methods apart"
            )
        if why:
            aside.append({"method": row.label, "why": why})
        else:
            kept.append(row)
    return kept, aside


def _tuned(rows: Sequence[Row], recipe: str, by: str, plain: Row | None) -> Row:
    """One recipe's settings as one method: on each seed, the setting best on the other seeds where
    it finished; the plain baseline is one of the settings where it is given (a price of 0).
    """
    settings = [*([plain] if plain else []), *[r for r in rows if r.cells]]
    cells, choices = {}, {}
    for pair in sorted({p for r in settings for p in r.cells}, key=_seed):
        able = [r for r in settings if pair in r.cells]
        scores = {r.label: [c.reached[by] for p, c in r.cells.items() if p != pair] for r in able}
        best = max(
            (r for r in able if scores[r.label]),
            key=lambda r: statistics.fmean(scores[r.label]),
            default=None,
        )
        if best is not None:
            cells[pair], choices[pair] = best.cells[pair], best.label
    row = Row(
        f"{recipe}, tuned for the {'end' if by == 'final' else 'peak'}", recipe, cells, {}, choices
    )
    varied = [
        k
        for k in dict.fromkeys(k for r in rows for k in r.settings)
        if len({str(r.settings.get(k)) for r in rows}) > 1
    ]
    if len(varied) == 1:
        tried = {r.label: r.settings.get(varied[0]) for r in rows}
        values = [v for v in tried.values() if isinstance(v, (int, float))]
        ends = (
            {max(values)} | (set() if plain else {min(values)})
            if len(values) == len(rows)
            else set()
        )
        row.edge = next((label for label in choices.values() if tried.get(label) in ends), "")
    return row


def _told(row: Row, plain: Row, price: Mapping[str, Row]) -> dict[str, Any]:
    names = ("reference", "peak", "peak_kl", "drop", "final", "final_kl")
    reached = {
        k: _mean([c.reached[k] for c in row.cells.values() if k in c.reached]) for k in names
    }
    cost = {
        k: _mean([c.cost[k] for c in row.cells.values() if k in c.cost])["mean"]
        for k in (*BUDGETS, "labels", "seconds")
    }
    overlap = [
        s
        for p, c in row.cells.items()
        if p in plain.cells and (s := _share(c, plain.cells[p])) is not None
    ]
    against: dict[str, Any] = {}
    if row is not plain:
        against = {
            "matched": _paired(row, plain, _matched),
            "peak_plain": _paired(row, plain, _gap("peak", "peak")),
            "final_plain": _paired(row, plain, _gap("final", "final")),
            "final_stopped": _paired(row, plain, _gap("final", "peak")),
        }
    against |= {
        f"{k}_tuned": _paired(row, theirs, _gap(k, k))
        for k, theirs in price.items()
        if row is not theirs
    }
    return {
        "method": row.label,
        "recipe": row.recipe,
        "seeds": len(row.cells),
        "reached": reached,
        "cost": cost,
        "overlap": statistics.fmean(overlap) if overlap else None,
        "against": against,
        "choices": row.choices,
        "edge": row.edge,
    }


def _gap(mine: str, theirs: str) -> Callable[[Cell, Cell], float | None]:
    return lambda a, b: a.reached[mine] - b.reached[theirs]


def _matched(a: Cell, b: Cell) -> float | None:
    try:
        return matched_gain(a.track.readings, b.track.readings)
    except ValueError:
        return None  # the two share no range of KL; the count of seeds says so


def _share(a: Cell, b: Cell) -> float | None:
    """How much of the baseline's range of √KL a run shares: a small share says little about the
    rest.
    """
    mine, theirs = ([d for d, _ in curve(c.track.readings)] for c in (a, b))
    if not mine or not theirs or max(theirs) <= theirs[0]:
        return None
    return max(0.0, min(max(mine), max(theirs)) - max(mine[0], theirs[0])) / (
        max(theirs) - theirs[0]
    )


def _mean(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "half": None}
    mean, half = interval(values)
    return {"mean": mean, "half": half}


def _paired(row: Row, base: Row, gap: Callable[[Cell, Cell], float | None]) -> dict[str, Any]:
    """Mean paired difference, its interval and p-value (two-sided Student), and on how many seeds
    it is above 0.
    """
    gaps = [
        g
        for p, c in row.cells.items()
        if p in base.cells and (g := gap(c, base.cells[p])) is not None
    ]
    found: dict[str, Any] = {
        **_mean(gaps),
        "seeds": len(gaps),
        "above": sum(g > 0 for g in gaps),
        "p": None,
        "sure": "",
    }
    if len(gaps) > 1:
        spread = statistics.stdev(gaps)
        if spread > 0:
            found["p"] = 1 - within(
                abs(statistics.fmean(gaps)) * math.sqrt(len(gaps)) / spread, len(gaps) - 1
            )
    return found


def _holm(told: Sequence[Mapping[str, Any]], level: float = 0.05) -> None:
    """Mark in every column the differences that stay sure when all of its methods are judged at
    once (Holm 1979).
    """
    for name in AGAINST:
        cells = [m["against"][name] for m in told if name in m["against"]]
        able = sorted(
            (c for c in cells if c["p"] is not None and c["seeds"] >= LEAST), key=lambda c: c["p"]
        )
        for i, c in enumerate(able):
            if c["p"] > level / (len(able) - i):
                break
            c["sure"] = "above" if c["mean"] > 0 else "below"
