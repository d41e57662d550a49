"""Compares methods at one budget: what each reached, what it cost, and paired differences from
three baselines.

Reads run folders as `assay sweep` writes them. Needs no torch. The baselines of every method:

    plain     the baseline as it is
    tuned     the same with a KL penalty (runs of another recipe that is the baseline at coefficient
              0): for each seed the setting that was best on the *other* seeds, 0 among them, so
              that no seed chooses for itself; tuned for the end where ends are compared, for the
              peak where peaks are
    stopped   the plain baseline at its own best checkpoint, chosen by gold: early stopping, as well
              as it can be done

Differences are paired by seed (the run's and the world's), with 95 % Student intervals; over many
methods Holm's step-down says which are sure. Peak and end are read on the same fresh completions,
so neither is chosen by its own noise.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.evaluation.compare_rows import (
    Cell,
    Row,
    at_one_budget,
    cells_of,
    in_order,
    plain_baseline,
    tuned_on_others,
)
from assay.records.methods import Ground, grounds
from assay.stats.effects import curve, matched_gain
from assay.stats.paired import difference, holm, mean

BUDGETS = ("generated", "scored", "updates")
PENALISED = ("kl_in_loss", "kl_in_reward")
LEAST = 5  # paired seeds below which nothing is called sure
AGAINST = {  # name: what it says, over a method's cell and the baseline's
    "matched": "gold at equal KL, from plain",
    "peak_plain": "peak, from plain's peak (both stopped at their best)",
    "peak_tuned": "peak, from tuned's peak",
    "final_plain": "end, from plain's end",
    "final_tuned": "end, from tuned's end",
    "final_stopped": "end, from plain stopped at its best",
}


def compare(
    folders: Sequence[Path | str],
    *,
    baseline: str,
    tuned: str | None = None,
    budget: str = "generated",
    apart: bool = False,
    per_seed: Sequence[str] = (),
) -> tuple[dict[str, Any], list[tuple[Ground, list[Row], Row]]]:
    """Compare the methods of some runs.

    Args:
        folders: Run folders, or folders of them.
        baseline: The plain method: a recipe, or the label of one of its settings.
        tuned: The recipe whose settings are the KL coefficients; None takes the first of PENALISED
            that was run.
        budget: The count that must be equal: generated, scored or updates.
        apart: Tell of methods of another budget beside the others, instead of refusing them all.
        per_seed: Arguments whose files go with the seed, such as rewards.

    Returns:
        (the comparison as JSON values, its rows for drawing: world, rows with the tuned ones, the
        plain baseline's).

    Raises:
        InputError: The baseline is not there, budgets differ, or runs of one seed do not share
            what goes with it.
    """
    if budget not in BUDGETS:
        raise InputError(f"--budget is '{budget}'; it is one of {', '.join(BUDGETS)}")
    worlds, drawn = [], []
    for ground in grounds(folders, per_seed):
        found, rows, plain = _world(ground, baseline, tuned, budget, apart)
        found["per_seed"] = list(per_seed)
        worlds.append(found)
        drawn.append((ground, rows, plain))
    return {"made_by": "assay compare", "baseline": baseline, "worlds": worlds}, drawn


def _world(
    ground: Ground, baseline: str, tuned: str | None, budget: str, apart: bool
) -> tuple[dict[str, Any], list[Row], Row]:
    rows, missing = [], []
    pairs = sorted({t.pair for t in ground.tracks}, key=in_order)
    for m in ground.methods:
        cells, gaps = cells_of(m, pairs)
        missing += gaps
        rows.append(Row(m.label, m.recipe, cells, m.settings))
    plain = plain_baseline(ground, rows, baseline)
    rows, aside = at_one_budget(ground, rows, plain, budget, apart)
    able = {r.recipe for r in rows if r.cells}
    penalised = next((p for p in ((tuned,) if tuned else PENALISED) if p in able), None)
    if tuned and penalised is None:
        raise InputError(
            f"{ground.title} has no finished run of {tuned}, whose KL coefficient is to be tuned; "
            "sweep it over its coefficient"
        )
    several = [
        name
        for name in dict.fromkeys(r.recipe for r in rows)
        if name == penalised or (name != plain.recipe and sum(r.recipe == name for r in rows) > 1)
    ]
    best = {
        (name, by): tuned_on_others(
            [r for r in rows if r.recipe == name], name, by, plain if name == penalised else None
        )
        for name in several
        for by in ("final", "peak")
    }
    rivals = {by: best[penalised, by] for by in ("final", "peak")} if penalised else {}
    every = [plain, *best.values(), *[r for r in rows if r is not plain and r.cells]]
    told = [_told(r, plain, rivals) for r in every]
    _mark_sure(told)
    return (
        {
            "world": ground.title,
            "gold": ground.gold_name,
            "baseline": plain.label,
            "price": penalised,
            "seeds": len(pairs),
            "budget": {"unit": budget, "value": plain.spent(budget)},
            "methods": told,
            "apart": [{**_told(r, plain, rivals), "why": why} for r, why in aside],
            "missing": missing,
        },
        every,
        plain,
    )


def _told(row: Row, plain: Row, best: Mapping[str, Row]) -> dict[str, Any]:
    names = ("reference", "peak", "peak_kl", "drop", "final", "final_kl")
    reached = {k: mean([c.reached[k] for c in row.cells.values() if k in c.reached]) for k in names}
    cost = {
        k: mean([c.cost[k] for c in row.cells.values() if k in c.cost])["mean"]
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
        for k, theirs in best.items()
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


def _paired(row: Row, base: Row, gap: Callable[[Cell, Cell], float | None]) -> dict[str, Any]:
    """The paired difference of two rows, over the seeds that both have."""
    gaps = [
        g
        for p, c in row.cells.items()
        if p in base.cells and (g := gap(c, base.cells[p])) is not None
    ]
    return {**difference(gaps), "sure": ""}


def _mark_sure(told: Sequence[Mapping[str, Any]]) -> None:
    """Mark in every column the differences that stay sure when all of its methods are tested at
    once.
    """
    for name in AGAINST:
        cells = [m["against"][name] for m in told if name in m["against"]]
        able = [c for c in cells if c["p"] is not None and c["seeds"] >= LEAST]
        for c, sure in zip(able, holm([c["p"] for c in able]), strict=True):
            if sure:
                c["sure"] = "above" if c["mean"] > 0 else "below"
