"""Fitted curves: planted numbers come back, nothing is extrapolated but by a form that says so, and
a tie is a tie.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.report.laws import verdict
from assay.stats.curve_fit import first_passage, fit, tie
from assay.stats.gao_forms import beyond, solve, turning_point
from assay.stats.intervals import interval, student

D = np.linspace(0.4, 5.0, 24)
parameters = st.tuples(st.floats(0.2, 3.0), st.floats(0.05, 1.0))


def planted(form: str, alpha: float, beta: float, d: np.ndarray = D) -> np.ndarray:
    """The forms as the paper prints them, not as the regression writes them."""
    return d * (alpha - beta * d) if form == "best-of-n" else d * (alpha - beta * np.log(d))


@pytest.mark.parametrize("form", ["best-of-n", "rl"])
@given(ab=parameters)
def test_noise_free_parameters_come_back_exactly(form: str, ab: tuple[float, float]) -> None:
    alpha, beta = solve(D, planted(form, *ab), np.ones_like(D), form)
    assert (float(alpha), float(beta)) == pytest.approx(ab, rel=1e-8)


@pytest.mark.parametrize("form", ["best-of-n", "rl"])
@given(ab=parameters)
def test_the_peak_is_where_the_curve_is_highest(form: str, ab: tuple[float, float]) -> None:
    d, r = (float(x) for x in turning_point(np.array(ab[0]), np.array(ab[1]), form))
    # sheet: best-of-n d* = α/2β, R* = α²/4β; RL d* = exp(α/β − 1), R* = βd*
    expected = (
        (ab[0] / (2 * ab[1]), ab[0] ** 2 / (4 * ab[1]))
        if form == "best-of-n"
        else (math.exp(ab[0] / ab[1] - 1),) * 2
    )
    assert d == pytest.approx(expected[0])
    assert r == pytest.approx(expected[1] if form == "best-of-n" else ab[1] * d)
    at = planted(form, *ab, d=np.array([d * 0.99, d, d * 1.01]))
    assert at[1] == pytest.approx(r) and at[1] >= at[0] and at[1] >= at[2]


@pytest.mark.parametrize(
    ("form", "alpha", "beta"),
    [
        ("best-of-n", -1.0, 0.5),
        ("best-of-n", 1.0, -0.5),
        ("rl", 1.0, -0.5),
        ("rl", 1.0, 0.0),
        ("rl", 1e6, 1e-3),
    ],
)
def test_a_form_that_never_turns_has_no_peak(form: str, alpha: float, beta: float) -> None:
    d, r = turning_point(np.array(alpha), np.array(beta), form)
    assert np.isnan(d) and np.isnan(r)


@pytest.mark.parametrize("form", ["best-of-n", "rl"])
def test_noisy_parameters_lie_in_their_intervals_about_as_often_as_promised(form: str) -> None:
    rng, inside = np.random.default_rng(3), 0
    for _ in range(60):
        found = fit(
            [(D, planted(form, 1.2, 0.35) + 0.1 * rng.normal(size=len(D)), np.full(len(D), 0.1))],
            form,
            resamples=200,
        )
        assert found is not None and found.weighted
        inside += found.alpha_interval[0] <= 1.2 <= found.alpha_interval[1]
        inside += found.beta_interval[0] <= 0.35 <= found.beta_interval[1]
    assert 0.80 * 120 <= inside <= 120


def test_weights_silence_a_reading_that_nobody_trusts() -> None:
    r, err = planted("rl", 1.0, 0.4), np.full(len(D), 0.01)
    r[5], err[5] = 50.0, 1e5
    found = fit([(D, r, err)], "rl", resamples=10)
    assert found is not None and (found.alpha, found.beta) == pytest.approx((1.0, 0.4), abs=1e-4)
    equal = fit([(D, r, np.where(np.arange(len(D)) == 5, 0.0, err))], "rl", resamples=10)
    assert equal is not None and not equal.weighted and abs(equal.alpha - 1.0) > 0.1


def test_half_the_error_counts_as_four_readings() -> None:
    r, err = planted("rl", 1.0, 0.4) + 0.1 * np.cos(9 * D), np.full(len(D), 0.2)
    sure = np.where(np.arange(len(D)) == 3, err / 2, err)
    four = np.r_[np.arange(len(D)), 3, 3, 3]
    once, often = (
        fit([(D, r, sure)], "rl", resamples=10),
        fit([(D[four], r[four], err[four])], "rl", resamples=10),
    )
    assert (
        once is not None
        and often is not None
        and (once.alpha, once.beta) == pytest.approx((often.alpha, often.beta))
    )


def test_readings_next_to_the_reference_are_left_out() -> None:
    d = np.r_[0.0, 0.05, 0.1, 0.29, D]
    r = np.r_[9.0, 9.0, 9.0, 9.0, planted("rl", 1.0, 0.4)]
    found = fit([(d, r, None)], "rl", resamples=10)
    assert found is not None and found.points == len(D) and found.alpha == pytest.approx(1.0)


def test_too_little_to_fit_is_no_fit() -> None:
    assert fit([(D[:5], D[:5], None)], "rl") is None
    assert fit([(np.full(9, 2.0), np.arange(9.0), None)], "rl") is None
    assert fit([], "best-of-n") is None


@pytest.mark.parametrize(("right", "wrong"), [("best-of-n", "rl"), ("rl", "best-of-n")])
def test_held_out_readings_prefer_the_form_that_made_them(right: str, wrong: str) -> None:
    noise = 0.02 * np.random.default_rng(0).normal(size=len(D))
    a, b = (
        fit([(D, planted(right, 1.2, 0.35) + noise, None)], form, resamples=50)
        for form in (right, wrong)
    )
    assert a is not None and b is not None
    assert a.held_out < b.held_out and not tie(a, b)
    assert "better than the other" in verdict([a, b]) and "worse than the other" in verdict([b, a])


def test_a_tie_and_a_missing_turn_are_said() -> None:
    rng = np.random.default_rng(1)
    d = np.linspace(0.5, 1.5, 12)
    flat = [
        fit([(d, d + 0.3 * rng.normal(size=12), None)], form, resamples=100)
        for form in ("rl", "best-of-n")
    ]
    assert flat[0] and flat[1] and "The two forms tie" in verdict([flat[0], flat[1]])
    rising = [
        fit([(D, planted("best-of-n", 2.0, 0.1), None)], form, resamples=50)
        for form in ("best-of-n", "rl")
    ]
    assert rising[0] and rising[1]
    assert verdict([rising[0], rising[1]]).startswith(
        "No turn in range: fitted gold would peak at √KL 10"
    )
    up = [
        fit([(D, planted("best-of-n", 1.0, -0.1), None)], form, resamples=50)
        for form in ("best-of-n", "rl")
    ]
    assert up[0] and up[1] and verdict([up[0], up[1]]).startswith("No turn: ")
    turns = [
        fit([(D, planted("best-of-n", 2.0, 0.4), None)], form, resamples=50)
        for form in ("best-of-n", "rl")
    ]
    assert (
        turns[0]
        and turns[1]
        and verdict([turns[0], turns[1]], "held-out model").startswith(
            "Fitted held-out model turns within the range, at √KL 2.5"
        )
    )


def test_student_quantiles_are_the_printed_ones() -> None:
    # two-sided 95 %, from any printed table
    printed = {
        1: 12.706,
        2: 4.303,
        3: 3.182,
        4: 2.776,
        5: 2.571,
        9: 2.262,
        10: 2.228,
        30: 2.042,
        120: 1.980,
    }
    assert {k: round(student(k), 3) for k in printed} == printed


def test_an_interval_needs_two() -> None:
    assert interval([3.0]) == (3.0, None)
    mean, half = interval([1.0, 3.0])
    # sd of {1, 3} is √2, its error √2/√2 = 1, and Student's quantile with one degree of freedom
    # 12.706
    assert mean == 2.0 and half == pytest.approx(12.706, abs=1e-3)


paths = st.lists(st.tuples(st.floats(0, 10), st.floats(-5, 5)), min_size=1, max_size=12)


@given(points=paths, x=st.floats(-1, 12))
def test_first_passage_never_extrapolates(points: list[tuple[float, float]], x: float) -> None:
    d, y = (np.array(c) for c in zip(*points, strict=True))
    value = float(first_passage(d, y, np.array([x]))[0])
    assert math.isnan(value) == (x < d[0] or x > d.max())
    assert math.isnan(value) or y.min() - 1e-9 <= value <= y.max() + 1e-9


def test_first_passage_takes_the_first_time() -> None:
    d, y = np.array([0.0, 2.0, 1.0, 3.0]), np.array([0.0, 2.0, 9.0, 3.0])
    # 1 is first reached halfway to the second reading; 2.5 on the last piece, from (1, 9) to (3,
    # 3), three quarters along it
    assert list(first_passage(d, y, np.array([0.0, 1.0, 2.0, 2.5, 3.0]))) == [
        0.0,
        1.0,
        2.0,
        4.5,
        3.0,
    ]


@pytest.mark.parametrize("form", ["best-of-n", "rl"])
def test_the_form_that_made_a_curve_predicts_its_rest_and_persistence_does_not(form: str) -> None:
    runs, other = [(D, planted(form, 1.2, 0.35))], {"rl": "best-of-n", "best-of-n": "rl"}[form]
    right, wrong = beyond(runs, form, cut=2.5), beyond(runs, other, cut=2.5)
    assert right and wrong and right.constants == pytest.approx((1.2, 0.35))
    assert right.error < 1e-9 < 0.05 < wrong.error and right.error < right.stays
    # by hand: each reading beyond less the last one up to the cut
    before, rest = runs[0][1][D <= 2.5][-1], runs[0][1][D > 2.5]
    assert right.stays == pytest.approx(float(np.sqrt(np.mean((rest - before) ** 2))))
    assert beyond(runs, form, cut=5.0) is None and beyond(runs, form, cut=0.5) is None


def test_a_law_that_loses_to_persistence_says_so() -> None:
    bent = np.minimum(planted("best-of-n", 1.2, 0.05), 1.2 * 2.0)  # rises, then stays
    found = [fit([(D, bent, None)], form, resamples=20) for form in ("best-of-n", "rl")]
    assert found[0] and found[1] and found[0].beyond
    assert found[0].beyond.error > found[0].beyond.stays
    assert "no less than “it stays where it was”" in verdict([found[0], found[1]])
