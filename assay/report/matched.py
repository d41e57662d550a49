"""Gold at equal KL: every method beside a baseline, paired by seed."""

from __future__ import annotations

from assay.data.escape import capital, count, spread
from assay.records.methods import Ground, Method
from assay.report.results import over
from assay.report.table import Cell, Table, named
from assay.stats.intervals import interval
from assay.stats.readings import at_kl, path

PRESSURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_PLAIN_NAMES = ("leave_one_out", "single", "baseline")


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
    """The method that others are compared with, among those with a KL.

    Args:
        ground: The world.
        asked: Its label or recipe; None for a plain method by name, else the first.
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


def matched(ground: Ground, asked: str | None = None) -> Table | str:
    """Gold at equal KL, and the paired difference from the baseline.

    Args:
        ground: The world.
        asked: The baseline's label or recipe; None for a plain method by name.

    Returns:
        A table; a sentence where no KL was reached by all runs; "" where no run has gold and KL.
    """
    ks, who = pressures(ground)
    if not ks:
        return (
            f"{who} ends before any KL that all runs reached: there is nothing to match."
            if who
            else ""
        )
    base = baseline_of(ground, asked)
    theirs = {t.pair: t for t in base.tracks}
    rows: list[list[Cell | str]] = []
    for m in (m for m in ground.methods if _visited(m)):
        cells: list[Cell | str] = []
        for kl in ks:
            cell = Cell(spread(*over([at_kl(t.readings, kl) for t in m.tracks])))
            pairs = [
                (at_kl(t.readings, kl), at_kl(theirs[t.pair].readings, kl))
                for t in m.tracks
                if t.pair in theirs
            ]
            gaps = [a - b for a, b in pairs if a is not None and b is not None]
            if m is not base and gaps:
                gap, half = interval(gaps)
                cell.small = spread(gap, half, sign=True) + (
                    "" if half is not None else " (one seed)"
                )
                cell.sure = half is not None and abs(gap) > half
            cells.append(cell)
        rows.append([named(m), count(len({t.pair for t in m.tracks})), *cells])
    return Table(
        f"{capital(ground.gold_name)} at matched KL, {ground.title}",
        ["method", "seeds", *[f"KL {kl:g}" for kl in ks]],
        rows,
        "Read where each run first reaches that KL, linear between two readings, never beyond a "
        f"run’s range ({who} ends "
        f"first). Small: the difference from {base.label}, paired by seed, with its 95 % Student "
        "interval over pairs; bold "
        "where that leaves out 0. One seed: no interval over seeds.",
    )
