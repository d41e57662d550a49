"""Gao's two forms, fitted to each method, in numbers and in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from assay.data.escape import capital, count, number
from assay.records.methods import Ground, Method
from assay.report.lines import above, points
from assay.report.table import Cell, Table, named
from assay.stats.curve_fit import Fit, fit, tie
from assay.stats.gao_forms import LEAST_D


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
    """What the fits say: whether there is a turn in range, and which form predicts better."""
    right, wrong = fits
    at, end = number(right.d_peak), number(right.range[1])
    if right.d_peak is None:
        turn = f"No turn: fitted {gold} has no maximum."
    elif right.d_peak > right.range[1]:
        turn = (
            f"No turn in range: fitted {gold} would peak at √KL {at}, beyond the {end} that was "
            "reached."
        )
    elif right.d_interval is None:
        turn = (
            f"A turn is not certain: fitted {gold} peaks at √KL {at}, but only "
            f"{100 * right.with_peak:.0f} % of resamples "
            f"have a peak at all."
        )
    elif right.d_interval[1] > right.range[1]:
        turn = (
            f"A turn in range is not certain: fitted {gold} peaks at √KL {at}, and the interval "
            "of that place reaches "
            f"beyond the {end} that was visited."
        )
    else:
        turn = f"Fitted {gold} turns within the range, at √KL {at}."
    turn += persistence(right, gold)
    if not (math.isfinite(right.held_out) and math.isfinite(wrong.held_out)):
        return turn
    if tie(right, wrong):
        return f"{turn} The two forms tie on held-out readings: these do not tell them apart."
    how = "better" if right.held_out < wrong.held_out else "worse"
    return (
        f"{turn} The form meant for this optimiser predicts held-out readings {how} than the "
        "other one."
    )


def persistence(f: Fit, gold: str = "gold") -> str:
    """What the form predicts of the second half from the first, beside no law at all."""
    if f.beyond is None:
        return ""
    how = "less than" if f.beyond.error < f.beyond.stays else "no less than"
    return (
        f" Fitted to the first half of the range, it misses {gold} beyond by "
        f"{number(f.beyond.error)}, {how} “it stays where it was” ({number(f.beyond.stays)})."
    )


def fits_table(ground: Ground, fits: dict[str, list[Fit]]) -> Table:
    """Parameters, implied peak and held-out error of every method that could be fitted."""

    def within(x: float | None, ends: tuple[float, float] | None) -> Cell:
        return Cell(
            number(x),
            small=f"{number(ends[0])} … {number(ends[1])}" if ends and x is not None else "",
        )

    rows: list[list[Cell | str]] = []
    for m in (m for m in ground.methods if m.label in fits):
        f, other = fits[m.label]
        rows.append(
            [
                named(m),
                "d(α − βd)" if f.form == "best-of-n" else "d(α − β log d)",
                within(f.alpha, f.alpha_interval),
                within(f.beta, f.beta_interval),
                within(f.d_peak, f.d_interval),
                within(f.r_peak, f.r_interval),
                number(f.held_out),
                number(other.held_out),
                number(f.beyond.error) if f.beyond else "",
                number(f.beyond.stays) if f.beyond else "",
                count(f.points),
                "1/err²" if f.weighted else "equal",
            ]
        )
    return Table(
        f"Gao’s forms fitted, {ground.title}",
        [
            "method",
            "its form",
            "α",
            "β",
            "d at the peak",
            "height of the peak",
            "held-out RMSE",
            "the other form’s",
            "beyond half the range",
            "“it stays”",
            "readings",
            "weights",
        ],
        rows,
        f"{capital(ground.gold_name)} above the reference against d = √KL, by linear least "
        "squares without intercept. Readings "
        f"with d < {LEAST_D} are dropped: there d log d is all slope. Weights are equal where an "
        "error is missing or 0. Small, "
        "95 %: of one run a bootstrap over its readings, which covers this run alone and no other "
        "seed; of several runs Student’s over leaving each out, which covers their mean. Held out: "
        "every third reading in turn. Beyond half the range: the error there of the form fitted "
        "to the first half, and of taking each run’s last value before.",
    )
