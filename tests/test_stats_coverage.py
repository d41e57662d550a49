"""What a band and an interval cover, by simulation: one run's own curve, or the mean over runs."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from assay.records.methods import Method, Track
from assay.records.runs import Run
from assay.report.lines import above, line
from assay.stats.curve_fit import fit

D = np.linspace(0.4, 4.0, 12)
MEAN, BETWEEN, NOISE = (1.2, 0.35), (0.2, 0.06), 0.05


def drawn(rng: np.random.Generator, runs: int) -> tuple[list[Any], np.ndarray]:
    """Runs of best-of-n form whose constants differ as reward models do; and those constants."""
    own = np.array(MEAN) + np.array(BETWEEN) * rng.normal(size=(runs, 2))
    noise = NOISE * rng.normal(size=(runs, len(D)))
    made = [D * (a - b * D) + e for (a, b), e in zip(own, noise, strict=True)]
    return [(D, r, np.full(len(D), NOISE)) for r in made], own


@pytest.mark.parametrize("runs", [2, 3, 6])
def test_intervals_of_several_runs_cover_the_mean_over_runs(runs: int) -> None:
    rng, inside, peaks = np.random.default_rng(runs), 0, []
    for _ in range(150):
        found = fit(drawn(rng, runs)[0], "best-of-n", resamples=20)
        assert found is not None and found.runs == runs
        for mean, (low, high) in zip(
            MEAN, (found.alpha_interval, found.beta_interval), strict=True
        ):
            inside += low <= mean <= high
        if found.d_interval:
            peaks.append(found.d_interval[0] <= MEAN[0] / (2 * MEAN[1]) <= found.d_interval[1])
    assert 0.91 <= inside / 300 <= 1.0, "95 % was promised"
    assert np.mean(peaks) >= 0.90


def test_the_interval_of_one_run_covers_that_run_and_seldom_the_mean() -> None:
    rng, mine, mean = np.random.default_rng(0), 0, 0
    for _ in range(150):
        runs, own = drawn(rng, 1)
        found = fit(runs, "best-of-n", resamples=100)
        assert found is not None and found.runs == 1
        low, high = found.alpha_interval
        mine += low <= own[0, 0] <= high
        mean += low <= MEAN[0] <= high
    assert mine / 150 >= 0.8, "a percentile bootstrap of 12 readings is a little short"
    assert mean / 150 < 0.5, "else the report's note would be wrong"


def track(rng: np.random.Generator, spread: float) -> Track:
    """A run of twenty readings around its own level, each with error 1; the mean level is 5."""
    level = 5.0 + spread * rng.normal()
    rows = [{"step": 0, "gold": 0.0, "gold_err": 0.0, "kl": 0.0, "kl_kind": "exact"}]
    for step in range(1, 21):
        gold = level + rng.normal()
        rows.append(
            {"step": step, "gold": gold, "gold_err": 1.0, "kl": float(step), "kl_kind": "exact"}
        )
    return Track(object.__new__(Run), cast(Any, rows), None)  # a curve that no file holds


@pytest.mark.parametrize(("spread", "held"), [(0.0, 0.95), (2.0, 0.62), (3.3, 0.43)])
def test_the_band_of_one_run_covers_the_mean_less_the_more_runs_differ(
    spread: float, held: float
) -> None:
    rng, inside = np.random.default_rng(1), []
    for _ in range(400):
        got = line(Method("m", {}, [track(rng, spread)]), above("gold"), "step")
        assert got is not None and got.low is not None and got.high is not None
        inside.append(np.mean((got.low[1:] <= 5.0) & (got.high[1:] >= 5.0)))
    assert np.mean(inside) == pytest.approx(held, abs=0.05), "docs/concepts/report.md has these"


@pytest.mark.parametrize("runs", [3, 8])
def test_the_band_of_several_runs_covers_their_mean(runs: int) -> None:
    rng, inside = np.random.default_rng(2), []
    for _ in range(150):
        tracks = [track(rng, 3.3) for _ in range(runs)]
        got = line(Method("m", {}, tracks), above("gold"), "step")
        assert got is not None and got.low is not None and got.high is not None
        x = got.x >= 1
        inside.append(np.mean((got.low[x] <= 5.0) & (got.high[x] >= 5.0)))
    assert np.mean(inside) >= 0.92
