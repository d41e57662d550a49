"""The audit's bench: what it calls a turning point, a right order and a covered run."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from calibrated import known, scores
from scipy.stats import kendalltau

from assay.audits.turning_known import KNOWN
from assay.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
judged, kept, measured, page, recorded, report, resampled, worlds = (
    importlib.import_module(f"bench.audit.{name}")
    for name in ("judged", "kept", "measured", "page", "recorded", "report", "resampled", "worlds")
)
RESULTS = json.loads((ROOT / "bench" / "results" / "audit.json").read_text(encoding="utf-8"))


def test_a_hill_turns_at_its_peak_and_a_slope_does_not() -> None:
    d = np.linspace(0, 4, 81)
    found = measured.turn(d, d * (2 - 0.5 * d))
    assert found.turned and found.d == pytest.approx(2.0, abs=0.06)
    assert measured.turn(d, d) == (4.0, False)
    assert measured.turn(d, -d) == (measured.LEAST, True)


def test_noise_smaller_than_a_fall_is_no_turn() -> None:
    d = np.linspace(0, 4, 81)
    noise = 0.05 * np.random.default_rng(0).standard_normal(81)
    assert not measured.turn(d, np.minimum(d, 1.0) + noise).turned
    assert measured.turn(d, np.minimum(d, 1.0) - np.maximum(d - 3, 0)).turned


def test_concordance_is_kendall_s_tau_without_censoring() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.standard_normal((2, 60))
    found = measured.concordance(a, b, np.ones(60, bool))
    assert found == pytest.approx(kendalltau(a, b).statistic)
    assert measured.concordance(b, b, np.ones(60, bool)) == 1.0
    assert measured.concordance(np.zeros(60), b, np.ones(60, bool)) == 0.0


def test_only_pairs_of_known_order_count() -> None:
    """A run that ended at 1 says nothing about one that turned at 2; about one at 0.5 it does."""
    d, turned = np.array([1.0, 2.0, 0.5]), np.array([False, True, True])
    assert measured.concordance(np.array([0.0, 2.0, 1.0]), d, turned) == 0.0  # one right, one wrong
    assert measured.concordance(np.array([9.0, 2.0, 1.0]), d, turned) == 1.0
    assert math.isnan(measured.concordance(d, d, np.zeros(3, bool)))


def test_telling_kinds_apart_is_no_rank_within_them() -> None:
    d = np.array([1.0, 1.1, 3.0, 3.1])
    predicted, kinds = np.array([1.0, 1.0, 2.0, 2.0]), ["a", "a", "b", "b"]
    assert measured.concordance(predicted, d, np.ones(4, bool)) > 0.6
    assert resampled.within(predicted, d, np.ones(4, bool), kinds)(np.ones((1, 4))) == 0.0


def test_a_measure_of_counts_is_that_of_rows_that_stand_as_often() -> None:
    draw = np.random.default_rng(0)
    a, d = draw.standard_normal((2, 30)).round(1)
    turned = draw.random(30) < 0.7
    w = draw.integers(0, 4, (20, 30)).astype(float)
    rows = [np.repeat(np.arange(30), each.astype(int)) for each in w]
    assert resampled.rank(a, d, turned)(w) == pytest.approx(
        [measured.concordance(a[i], d[i], turned[i]) for i in rows]
    )
    assert resampled.median(a, turned)(w) == pytest.approx(
        [np.exp(np.median(a[i][turned[i]])) for i in rows]
    )
    assert resampled.share(turned)(w) == pytest.approx([turned[i].mean() for i in rows])


def test_an_interval_resamples_seeds_and_not_runs() -> None:
    """Twenty runs of one seed each against twenty copies of each: copies say nothing new."""
    x = np.random.default_rng(0).random(20) < 0.5
    one = resampled.with_interval(range(20), resampled.share(x))
    many = resampled.with_interval(np.repeat(np.arange(20), 20), resampled.share(np.repeat(x, 20)))
    assert one == pytest.approx(many)
    error = math.sqrt(one["value"] * (1 - one["value"]) / 20)
    assert one["high"] - one["low"] == pytest.approx(2 * 1.96 * error, rel=0.2)
    nothing = resampled.with_interval(range(3), lambda w: np.full(len(w), np.nan))
    assert nothing == {"value": None, "low": None, "high": None}


def test_a_run_that_did_not_turn_is_covered_where_the_interval_reaches_its_end() -> None:
    low, high = np.array([1.0, 1.0, 1.0]), np.array([2.0, 2.0, 2.0])
    found = measured.covered(low, high, np.array([1.5, 1.5, 2.5]), np.array([True, False, False]))
    assert found.tolist() == [True, True, False]


def test_accuracy_is_of_pairs() -> None:
    gold = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    assert judged.accuracy(gold, gold) == 1.0 and judged.accuracy(-gold, gold) == 0.0
    assert judged.accuracy(torch.zeros_like(gold), gold) == 0.5


def test_seeds_to_develop_on_and_to_report_do_not_meet() -> None:
    assert not set(worlds.DEVELOP) & set(worlds.REPORT)


def test_a_run_is_the_same_whenever_it_is_made() -> None:
    """And its first reading is the reference: √KL and gold 0."""
    one, two = worlds.run("table-bag-shared", 700), worlds.run("table-bag-shared", 700)
    assert all((one[k] == two[k]).all() for k in one)
    assert one["scores"].shape == (5, 16, 1024) and one["d"][0] == one["curve"][0] == 0
    assert len(one["curve"]) == 101 and one["d"][-1] > 1


def test_recorded_runs_are_held_against_the_prediction(tmp_path: Path) -> None:
    d = np.linspace(0, 4, 81)
    line = {"kind": "mine", "seed": 0, "scores": scores(B=8).tolist(), "d": d.tolist()}
    line |= {"gold": (5 + d * (2 - 0.5 * d)).tolist(), "gold_deviation": 1.0}
    path, told = tmp_path / "runs.jsonl", []
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    ((said, found),) = recorded.against(path, known(), told.append)
    assert found.turned and found.d == pytest.approx(2.0, abs=0.06) and said.d is not None
    assert "line 1: turned at √KL = 2.00" in told[0]
    path.write_text(json.dumps({**line, "gold": [1.0]}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1 has 81 values of d, 1 of gold"):
        recorded.against(path, known(), told.append)


def test_the_library_s_calibration_is_that_of_the_recorded_runs() -> None:
    """Fitted again to the development runs that the results list, it is the one in the library."""
    runs = [kept.from_row(x) for x in RESULTS["runs"]["develop"]]
    again = report.shipped(runs)
    assert (again.runs, again.turned, again.names) == (KNOWN.runs, KNOWN.turned, KNOWN.names)
    for name in ("centre", "scale", "weight", "intercept", "errors", "least", "most", "horizon"):
        assert getattr(again, name) == pytest.approx(getattr(KNOWN, name), abs=1e-3)


def test_the_page_is_that_of_the_results() -> None:
    written = (ROOT / "docs" / "audit-bench.md").read_text(encoding="utf-8")
    assert written == page.page(RESULTS), "python -m bench.audit page"


def test_no_run_of_the_report_was_developed_on() -> None:
    used = {name: {x["seed"] for x in runs} for name, runs in RESULTS["runs"].items()}
    assert used["develop"] <= set(worlds.DEVELOP) and used["report"] <= set(worlds.REPORT)
