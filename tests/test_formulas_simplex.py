"""Nelder–Mead, told value by value: the same points as the common implementation, and none of it
lost in a file.
"""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from assay.formulas.simplex import ask, best, settled, simplex, tell


def rosenbrock(p):
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(p))


def bumpy(p):
    return sum(abs(x - 0.3) + (x - 0.3) ** 2 * (3 if x > 0 else 1) for x in p) + 0.1 * p[0] * p[-1]


def asked(f, start, step, n):
    state, points = simplex(start, step=step), []
    for _ in range(n):
        points.append(ask(state))
        state = tell(state, value=f(points[-1]))
        state = json.loads(json.dumps(state))  # a carry's trip to disk and back
    return points, state


@pytest.mark.parametrize(
    ("f", "start"),
    [
        (rosenbrock, [-1.2, 1.0]),
        (rosenbrock, [2.0, -1.0, 0.5]),
        (bumpy, [1.0, 2.0, -1.0]),
        (bumpy, [-3.0]),
    ],
)
def test_it_asks_what_the_common_implementation_asks(f, start):
    optimize = pytest.importorskip("scipy.optimize")
    theirs: list[list[float]] = []

    def spy(x):
        theirs.append(list(map(float, x)))
        return f(theirs[-1])

    corners = [start] + [
        [x + 0.7 * (i == j) for i, x in enumerate(start)] for j in range(len(start))
    ]
    optimize.minimize(
        spy,
        start,
        method="Nelder-Mead",
        options={"initial_simplex": corners, "maxfev": 120, "xatol": 0, "fatol": 0},
    )
    mine, _ = asked(f, start, 0.7, min(100, len(theirs)))
    for a, b in zip(mine, theirs):
        assert a == pytest.approx(b, rel=1e-9, abs=1e-12)


def test_it_finds_a_minimum_and_says_when_it_has():
    points, state = asked(lambda p: (p[0] - 2) ** 2 + 3 * (p[1] + 1) ** 2, [0.0, 0.0], 0.5, 120)
    found, value = best(state)
    assert (
        found == pytest.approx([2, -1], abs=1e-3)
        and value < 1e-5
        and settled(state, tolerance=1e-3)
    )
    assert not settled(simplex([0.0], step=1.0), tolerance=1e9) and len(points) == 120


def test_the_best_counts_what_is_held():
    state = simplex([0.0], step=1.0)
    for v in (1.0, 2.0):
        state = tell(state, value=v)
    assert state["phase"] == "reflect" and ask(state) == [-1.0]
    state = tell(
        state, value=0.5
    )  # better than all: an expansion follows, and the reflection is already the best
    assert state["phase"] == "expand" and best(state) == ([-1.0], 0.5) and ask(state) == [-2.0]
    assert best(tell(state, value=0.9)) == ([-1.0], 0.5)


def test_telling_changes_nothing_that_was_told():
    state = simplex([0.0, 1.0], step=1.0)
    before = json.dumps(state)
    tell(state, value=3.0)
    assert json.dumps(state) == before


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: simplex([], step=1.0), "at least one"),
        (lambda: simplex([0.0], step=0), "not 0"),
        (lambda: tell(simplex([0.0], step=1.0), value=float("nan")), "finite"),
        (lambda: best(simplex([0.0], step=1.0)), "no point"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
