"""Nelder–Mead search as two pure functions: `ask` for the next point, `tell` its value.

The state is plain lists and strings, so that it can be stored between two looks that are a day
apart; an optimiser that calls the function itself (SciPy's) cannot wait. Reflection 1, expansion 2,
contraction ½, shrinking ½, as in common implementations, step for step. It minimises.

Source: Nelder & Mead, "A simplex method for function minimization", 1965.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Point = list[float]


def simplex(start: Sequence[float], *, step: float) -> dict[str, Any]:
    """The state of a new search.

    Args:
        start: The first point; the others are one step from it along each axis.
        step: Not 0.

    Returns:
        The state.

    Raises:
        ValueError: There is no coordinate, or step is 0.
    """
    if not start or step == 0:
        raise ValueError("a simplex needs at least one coordinate and a step that is not 0")
    corners = [list(start)] + [
        [x + step * (i == j) for i, x in enumerate(start)] for j in range(len(start))
    ]
    return {"todo": corners, "points": [], "values": [], "phase": "build", "held": []}


def ask(state: dict[str, Any]) -> Point:
    """The next point to evaluate.

    Args:
        state: The search.

    Returns:
        Its coordinates.
    """
    return list(state["todo"][0])


def best(state: dict[str, Any]) -> tuple[Point, float]:
    """The lowest point so far.

    Args:
        state: The search.

    Returns:
        Its coordinates and its value.

    Raises:
        ValueError: No point has a value yet.
    """
    pairs = list(zip(state["points"], state["values"], strict=True)) + [
        (p, v) for p, v in state["held"]
    ]
    if not pairs:
        raise ValueError("no point of this simplex has a value yet")
    point, value = min(pairs, key=lambda pair: pair[1])
    return list(point), float(value)


def settled(state: dict[str, Any], *, tolerance: float) -> bool:
    """Whether the corners' values differ by less than a tolerance.

    Args:
        state: The search.
        tolerance: Of their standard deviation (÷ count).
    """
    v = state["values"]
    if state["phase"] == "build" or len(v) < 2:
        return False
    mean = sum(v) / len(v)
    return math.sqrt(sum((x - mean) ** 2 for x in v) / len(v)) < tolerance


def tell(state: dict[str, Any], *, value: float) -> dict[str, Any]:
    """The state after the value of the requested point is known.

    Args:
        state: The search; it is not changed.
        value: The value, finite.

    Returns:
        The new state.

    Raises:
        ValueError: The value is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"the value told is {value}; a search needs a finite number")
    point, todo = ask(state), [list(p) for p in state["todo"][1:]]
    points, values, phase = (
        [list(p) for p in state["points"]],
        list(state["values"]),
        state["phase"],
    )
    if phase in ("build", "shrink"):
        points, values = [*points, point], [*values, float(value)]
        return (
            {**state, "todo": todo, "points": points, "values": values}
            if todo
            else _reflect(points, values)
        )
    if phase == "reflect":
        held = [(point, float(value))]
        if value < values[0]:
            return _try("expand", points, values, held, -2.0)
        if value < values[-2]:
            return _replaced(points, values, point, value)
        return (
            _try("outside", points, values, held, -0.5)
            if value < values[-1]
            else _try("inside", points, values, held, 0.5)
        )
    reflected, found = state["held"][0]
    if phase == "expand":
        return (
            _replaced(points, values, point, value)
            if value < found
            else _replaced(points, values, reflected, found)
        )
    limit = value <= found if phase == "outside" else value < values[-1]
    if limit:
        return _replaced(points, values, point, value)
    shrunk = [[a + 0.5 * (x - a) for a, x in zip(points[0], p, strict=True)] for p in points[1:]]
    return {
        "todo": shrunk,
        "points": points[:1],
        "values": values[:1],
        "phase": "shrink",
        "held": [],
    }


def _along(points: list[Point], weight: float) -> Point:
    """centroid + weight·(worst − centroid), the centroid that of all but the worst."""
    others = points[:-1]
    middle = [sum(p[i] for p in others) / len(others) for i in range(len(points[-1]))]
    return [c + weight * (w - c) for c, w in zip(middle, points[-1], strict=True)]


def _try(
    phase: str, points: list[Point], values: list[float], held: list[Any], weight: float
) -> dict[str, Any]:
    return {
        "todo": [_along(points, weight)],
        "points": points,
        "values": values,
        "phase": phase,
        "held": held,
    }


def _replaced(
    points: list[Point], values: list[float], point: Point, value: float
) -> dict[str, Any]:
    return _reflect([*points[:-1], list(point)], [*values[:-1], float(value)])


def _reflect(points: list[Point], values: list[float]) -> dict[str, Any]:
    ranked = sorted(range(len(points)), key=lambda i: values[i])
    points, values = [points[i] for i in ranked], [values[i] for i in ranked]
    return _try("reflect", points, values, [], -1.0)
