"""The predicted turning point: what the regression recovers, what its interval promises, and when
nothing is said.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from calibrated import known, scores

from assay.audits.members import parting
from assay.audits.turning import predict
from assay.audits.turning_fit import FEATURES, calibrate, features
from assay.errors import InputError

WEIGHT, NOISE = np.array([0.5, -0.3]), 0.2


def runs(seed: int, *, end: float = np.inf, n: int = 200, noise: float = NOISE):
    """Runs of a world in which log √KL at the turn is linear in two features; all end at `end`."""
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((n, 2))
    d = np.exp(1.0 + x @ WEIGHT + noise * draw.standard_normal(n))
    return x, np.minimum(d, end), d < end


def test_the_regression_finds_what_made_the_runs() -> None:
    x, d, turned = runs(0)
    made = calibrate(x, d, turned, list(range(200)), names=("a", "b"))
    assert np.array(made.weight) / np.array(made.scale) == pytest.approx(WEIGHT, abs=0.05)
    assert made.errors[1] == pytest.approx(1.2816 * NOISE, rel=0.25)
    assert made.errors[0] == pytest.approx(-1.2816 * NOISE, rel=0.25)


def test_runs_that_end_early_do_not_bias_it() -> None:
    """Half of the runs end before they turn. Taken for turning points, their ends flatten the
    slope; the regression's is as without.
    """
    x, d, turned = runs(1, end=math.e, n=600)
    assert 0.4 < turned.mean() < 0.6
    made = calibrate(x, d, turned, list(range(600)), names=("a", "b"))
    assert np.array(made.weight) / np.array(made.scale) == pytest.approx(WEIGHT, abs=0.06)
    naive = calibrate(x, d, np.ones(600, bool), list(range(600)), names=("a", "b"))
    assert naive.weight[0] / naive.scale[0] < 0.4


@pytest.mark.parametrize("end", [np.inf, 4.0])
def test_the_interval_covers_as_often_as_it_says(end: float) -> None:
    """New runs, a few hundred of each of 20 calibrations; censored ones count where the interval
    reaches their end.
    """
    held = []
    for seed in range(20):
        x, d, turned = runs(seed, end=end, n=60)
        made = calibrate(x, d, turned, list(range(60)), names=("a", "b"), level=0.8)
        new, at, ends = runs(1000 + seed, end=end, n=300)
        low, high = made.interval(new)
        held.append(np.where(ends, (low <= at) & (at <= high), high >= at).mean())
    assert 0.77 < np.mean(held) < 0.86 if end == np.inf else np.mean(held) > 0.77


def test_errors_are_those_on_kinds_left_out() -> None:
    """Two kinds that differ by a factor in what no feature shows: an interval made by leaving out
    kinds knows of it, one made by leaving out runs is of the width within kinds and between them.
    """
    x, d, turned = runs(3, noise=0.01)
    kinds = ["one" if i % 2 else "other" for i in range(200)]
    d = d * np.where(np.arange(200) % 2, 3.0, 1.0)
    made = calibrate(x, d, turned, kinds, names=("a", "b"))
    assert made.errors[1] == pytest.approx(math.log(3), abs=0.05)
    assert made.errors[0] == pytest.approx(-math.log(3), abs=0.05)


def test_too_few_runs_have_no_upper_end() -> None:
    x, d, turned = runs(4, n=8)
    made = calibrate(x, d, turned, list(range(8)), names=("a", "b"), level=0.9)
    assert made.errors == (-math.inf, math.inf)


def test_too_little_to_calibrate_on_is_refused() -> None:
    x, d, turned = runs(5, n=20)
    with pytest.raises(InputError, match="of 1 groups"):
        calibrate(x, d, turned, ["one"] * 20, names=("a", "b"))
    with pytest.raises(InputError, match="has 3 runs that turned"):
        calibrate(x, d, np.arange(20) < 3, list(range(20)), names=("a", "b"))


def test_what_is_read_of_curves_by_hand() -> None:
    """Others at ρ times the chooser, and a spread that stays: kept is ρ and growth is 0."""
    d = np.linspace(0.0, 2.4, 11)
    chooser, flat = 1.4 * d, np.full(11, 0.7)
    x = dict(zip(FEATURES, features(d, chooser, 0.3 * chooser, flat), strict=True))
    assert x == pytest.approx({"kept": 0.3, "growth": 0.0})
    parted = dict(
        zip(FEATURES, features(d, chooser, np.minimum(d, 1), flat * (1 + d)), strict=True)
    )
    assert parted == pytest.approx({"kept": 0.0, "growth": math.log(3.4)})
    several = features(
        d, np.stack([chooser, 2 * chooser]), np.stack([chooser] * 2), np.stack([flat] * 2)
    )
    assert several.shape == (2, 2)


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_of_normal_members_their_correlation_is_kept(rho: float) -> None:
    x = predict(parting(scores(rho, B=400), proxy=0), calibration=known()).features
    assert x["kept"] == pytest.approx(rho, abs=0.08)


def test_a_prediction_has_an_interval_at_least_as_wide_as_the_calibration_s() -> None:
    said = predict(parting(scores(), proxy=0), calibration=known())
    assert said.d is not None and said.low is not None and said.high is not None
    assert said.low <= said.d * math.exp(-0.4) and said.high >= said.d * math.exp(0.6)
    few = predict(parting(scores(B=6), proxy=0), calibration=known())
    assert few.low is not None and few.high is not None
    assert few.high / few.low > said.high / said.low
    assert f"turn at √KL = {said.d:.2f}, 80 % interval" in said.lines()[0]
    assert json.loads(json.dumps(said.record(), allow_nan=False))["d"] == said.d


def test_members_that_follow_longer_turn_later() -> None:
    early, late = (
        predict(parting(scores(rho), proxy=0), calibration=known()) for rho in (0.2, 0.8)
    )
    assert early.d is not None and late.d is not None and early.d < late.d


@pytest.mark.parametrize(
    ("changes", "N", "says"),
    [
        ({"most": (0.2, 2.0)}, 64, "kept is 0."),
        ({"horizon": 1.2}, 64, "beyond √KL = 1.20"),
        ({}, 4, "sample at least 64 completions"),
    ],
)
def test_why_nothing_is_predicted(changes, N: int, says: str) -> None:
    said = predict(parting(scores(N=N), proxy=0), calibration=known(**changes))
    assert said.d is None and says in said.why
    assert said.lines() == [f"No turning point is predicted: {said.why}."]


def test_an_open_end_is_said() -> None:
    said = predict(parting(scores(), proxy=0), calibration=known(errors=(-0.4, math.inf)))
    assert said.high is None and "to beyond what was seen" in said.lines()[0]


def test_the_reward_model_must_be_named() -> None:
    with pytest.raises(InputError, match="proxy"):
        predict(parting(scores()), calibration=known())
