"""The rows of a comparison: a method's finished runs by seed, at one budget; tuned baselines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.errors import InputError
from assay.records.best import state_of
from assay.records.methods import Ground, Method, Track
from assay.stats.effects import drop, peak

# budgets that differ by less are equal: a method may generate a few completions to calibrate itself
SLACK = 0.05


@dataclass
class Cell:
    """One method on one seed: a finished run whose best checkpoint was read again.

    Attributes:
        track: The run's curve.
        reached: Gold at the reference, the peak and the end, the drop between these, and the KL of
            both. The end of a run that a watch stopped is the policy that its labels chose.
        cost: What the run spent, by name.
    """

    track: Track
    reached: dict[str, float]
    cost: dict[str, float]


@dataclass
class Row:
    """A method.

    Attributes:
        label: How it is printed.
        recipe: Its recipe.
        cells: By pair, which is the run's seed and the world's.
        settings: Its recipe's constants.
        choices: The setting taken for each pair, where it was tuned on the other pairs.
        edge: A setting that was taken and is the largest or smallest tried, so that the best may
            lie beyond; "" if no setting does.
    """

    label: str
    recipe: str
    cells: dict[str, Cell]
    settings: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    edge: str = ""

    def spent(self, unit: str) -> float:
        """What its first run spent."""
        return next(iter(self.cells.values())).cost[unit]


def in_order(pair: str) -> tuple[int, str]:
    """A key by which pairs are sorted as numbers are."""
    return len(pair), pair


def cells_of(method: Method, pairs: Sequence[str]) -> tuple[dict[str, Cell], list[dict[str, Any]]]:
    """Return a method's finished runs.

    Args:
        method: The method.
        pairs: All pairs of the comparison.

    Returns:
        (cells by pair, what is missing: method, seed and why).
    """
    cells: dict[str, Cell] = {}
    gaps = []
    there = {t.pair: t for t in method.tracks}
    for pair in pairs:
        t = there.get(pair)
        why = _unfit(t)
        if t is None or why:
            gaps.append({"method": method.label, "seed": pair, "why": why})
            continue
        cells[pair] = _cell(t)
    return cells, gaps


def _unfit(t: Track | None) -> str | None:
    """Why a run cannot be compared, or None."""
    if t is None:
        return "there is no run"
    record = t.run.record
    if record.state != "done":
        return (
            f"{record.state}: {record.error}" if record.error else f"the run is {state_of(t.run)}"
        )
    if (
        t.best is None
        or t.best["gold"] is None
        or (t.best["stats"] or {}).get("fresh/gold_last") is None
    ):
        return "its best checkpoint was not read again"
    return None


def _cell(t: Track) -> Cell:
    every, last = t.everything, t.readings[-1]
    reached = {
        "peak": peak(every),
        "final": peak(every) - drop(every),
        "drop": drop(every),
        "reference": float(every[-1]["stats"]["fresh/gold_reference"]),
    }
    end, result = last, t.run.record.result
    if result is not None and result["best"]["chosen_by"] == "watch":
        reached["final"] = float(every[-1]["stats"]["fresh/gold_kept"])
        reached["drop"] = reached["peak"] - reached["final"]
        end = next(r for r in t.readings if r["step"] == result["best"]["step"])
    for name, kl in (("peak_kl", every[-1]["kl"]), ("final_kl", end["kl"])):
        if kl is not None:
            reached[name] = max(0.0, float(kl))
    cost = {
        k: float(last[k])
        for k in ("generated", "scored", "labels", "updates", "seconds")
        if last.get(k) is not None
    }
    return Cell(t, reached, cost)


def plain_baseline(ground: Ground, rows: Sequence[Row], name: str) -> Row:
    """Return the row of the baseline.

    Args:
        ground: The world, for messages.
        rows: All rows.
        name: A recipe, or the label of one of its settings.

    Raises:
        InputError: There is none, there are several, or none of its runs is finished.
    """
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


def at_one_budget(
    ground: Ground, rows: Sequence[Row], plain: Row, unit: str, apart: bool
) -> tuple[list[Row], list[tuple[Row, str]]]:
    """Return the rows that spent what the baseline spent and were read as often.

    Args:
        ground: The world, for messages.
        rows: All rows.
        plain: The baseline.
        unit: What is counted: generated, scored or updates.
        apart: List the other rows instead of refusing them.

    Returns:
        (rows of that budget, the others and why they are no such row).

    Raises:
        InputError: A row has another budget, and `apart` is False.
    """
    kept, aside = [], []
    for row in rows:
        why = _unequal(row, plain, unit)
        if why and not apart:
            raise InputError(
                f"{row.label} in {ground.title} has another budget ({why}), and unequal budgets "
                "are not compared; run it again with an equal one, or give --apart to list such "
                "methods apart"
            )
        if why:
            aside.append((row, why))
        else:
            kept.append(row)
    return kept, aside


def _unequal(row: Row, plain: Row, unit: str) -> str | None:
    """In what a row's budget differs from the baseline's, or None."""
    why = None
    want = plain.spent(unit)
    asked = next(iter(plain.cells.values())).track.run.record.run
    for c in row.cells.values():
        if abs(c.cost[unit] - want) > SLACK * want:
            why = f"{unit} {c.cost[unit]:g} where the baseline {plain.label} has {want:g}"
        for k in ("eval_generations", "eval_steps"):
            mine = c.track.run.record.run.get(k)
            if mine != asked.get(k):
                why = (
                    f"--{k.replace('_', '-')} {mine} where the baseline {plain.label} was read "
                    f"with {asked.get(k)}"
                )
    return why


def tuned_on_others(rows: Sequence[Row], recipe: str, by: str, plain: Row | None) -> Row:
    """Return one recipe's settings as one method: on each seed, the setting best on the others.

    Args:
        rows: The recipe's settings.
        recipe: Its name.
        by: What is best: "final" or "peak".
        plain: The plain baseline, where it is one of the settings (a KL coefficient of 0).

    Returns:
        The row, with its choices.
    """
    settings = [*([plain] if plain else []), *[r for r in rows if r.cells]]
    cells, choices = {}, {}
    for pair in sorted({p for r in settings for p in r.cells}, key=in_order):
        able = [r for r in settings if pair in r.cells]
        scores = {r.label: [c.reached[by] for p, c in r.cells.items() if p != pair] for r in able}
        best = max(
            (r for r in able if scores[r.label]),
            key=lambda r: statistics.fmean(scores[r.label]),
            default=None,
        )
        if best is not None:
            cells[pair], choices[pair] = best.cells[pair], best.label
    label = f"{recipe}, tuned for the {'end' if by == 'final' else 'peak'}"
    return Row(label, recipe, cells, {}, choices, _edge(rows, choices, plain is not None))


def _edge(rows: Sequence[Row], choices: dict[str, str], from_zero: bool) -> str:
    """A setting that was taken and has none beyond it; the smallest has, where 0 was tried too."""
    varied = [
        k
        for k in dict.fromkeys(k for r in rows for k in r.settings)
        if len({str(r.settings.get(k)) for r in rows}) > 1
    ]
    if len(varied) != 1:
        return ""
    tried = {r.label: r.settings.get(varied[0]) for r in rows}
    values = [v for v in tried.values() if isinstance(v, (int, float))]
    if len(values) < len(rows):
        return ""
    ends = {max(values)} | (set() if from_zero else {min(values)})
    return next((label for label in choices.values() if tried.get(label) in ends), "")
