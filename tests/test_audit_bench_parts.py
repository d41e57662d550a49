"""The audit's bench: luck, SmolLM2's runs, runs in parts, and what the page concludes from them."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assay.audits.turning import TRIED

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
judged, kept, luck, measured, page_says, parts, smollm2, worlds = (
    importlib.import_module(f"bench.audit.{name}")
    for name in ("judged", "kept", "luck", "measured", "page_says", "parts", "smollm2", "worlds")
)
RESULTS = json.loads((ROOT / "bench" / "results" / "audit.json").read_text(encoding="utf-8"))


def test_a_run_says_all_of_another_where_there_is_no_luck_and_nothing_where_all_is() -> None:
    draw = np.random.default_rng(0)
    world, each = draw.standard_normal((200, 1)), draw.standard_normal((200, 3))
    every = np.ones((200, 3), bool)
    same = np.exp(np.broadcast_to(world, (200, 3)))
    all_once = np.ones((1, 200))
    assert luck.among(same, every)(all_once) == 1.0
    assert luck.lucky_share(same)(all_once) == pytest.approx(0.0)
    assert abs(luck.among(np.exp(each), every)(all_once)) < 0.1
    assert luck.lucky_share(np.exp(each))(all_once) > 0.85
    assert luck.lucky_share(np.exp(world + each))(all_once) == pytest.approx(0.5, abs=0.08)


def test_worlds_that_count_twice_are_worlds_that_stand_twice() -> None:
    d = np.exp(np.random.default_rng(1).standard_normal((8, 3)))
    twice = np.array([[2.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]])
    rows = [0, 0, 1, 3, 4, 5, 6, 7]
    again = luck.lucky_share(d[rows])(np.ones((1, 8)))
    assert luck.lucky_share(d)(twice) == pytest.approx(again)


def test_a_rule_is_held_against_each_training() -> None:
    d, turned = np.array([[1.0, 2.0], [2.0, 1.0]]), np.ones((2, 2), bool)
    once, by = np.ones((1, 2)), np.array([1.0, 2.0])
    assert luck.by_rule(by, d, turned)(once) == 0.0
    assert luck.by_rule(by, d[:, :1], turned[:, :1])(once) == 1.0


def test_another_training_draws_other_numbers_in_the_same_world(monkeypatch) -> None:
    long = worlds.world
    short = lambda w: replace(w, loop=replace(w.loop, max_steps=3))
    monkeypatch.setattr(worlds, "world", lambda kind, seed: short(long(kind, seed)))
    one, two = (worlds.run("table-bandit-shared", 740, again) for again in (0, 1))
    assert (one["scores"] == two["scores"]).all() and (one["gold"] == two["gold"]).all()
    assert one["d"][0] == two["d"][0] == 0 and (one["d"][1:] != two["d"][1:]).all()


def test_pairs_of_known_order_are_counted() -> None:
    """Two turned at 1 and 2, one ended at 1.5 and one at 2 without a turn."""
    d, turned = np.array([1.0, 2.0, 1.5, 2.0]), np.array([True, True, False, False])
    assert measured.known_pairs(d, turned) == 4


def test_the_running_mean_takes_the_readings_that_it_is_told() -> None:
    d, gold = np.arange(5.0), np.array([0.0, 0.0, 3.0, 0.0, 1.0])
    assert measured.turn(d, gold, smooth=1) == (2.0, True)
    assert measured.turn(d, np.array([0.0, 2.0, 0.0, 1.5, 1.5]), smooth=3) == (4.0, False)


def test_the_range_of_a_turn_holds_it_and_noise_makes_it_wide() -> None:
    d, draw = np.linspace(0, 4, 13), np.random.default_rng(0)
    hill = np.broadcast_to((d * (2 - 0.5 * d))[:, None, None], (13, 24, 4))
    sharp = smollm2.ranged(d, hill, 1.0)
    assert sharp["low"] == sharp["high"] == pytest.approx(2.0) and sharp["turned"] == 1
    noisy = smollm2.ranged(d, hill + 3 * draw.standard_normal((13, 24, 4)), 1.0)
    assert noisy["low"] <= 2 <= noisy["high"] and noisy["high"] - noisy["low"] > 0.5
    slope = smollm2.ranged(d, np.broadcast_to(d[:, None, None], (13, 24, 4)), 1.0)
    assert slope == {"low": 4.0, "high": 4.0, "turned": 0.0}


def test_an_order_of_six_runs_has_the_share_of_all_orders_beside_it() -> None:
    d, every = np.arange(1.0, 7.0), np.ones(6, bool)
    assert smollm2.exactly(d, d, every) == (1.0, 2 / math.factorial(6))
    assert smollm2.exactly(np.ones(6), d, every) == (None, None)
    assert smollm2.exactly(d, d, np.zeros(6, bool)) == (None, None)


def test_the_exact_interval_of_a_share() -> None:
    """None in 6: the upper end is where six misses have a chance of 2.5 %."""
    low, high = smollm2.clopper_pearson(0, 6)
    assert low == 0.0 and (1 - high) ** 6 == pytest.approx(0.025)
    assert smollm2.clopper_pearson(6, 6) == pytest.approx([1 - high, 1.0])
    low, high = smollm2.clopper_pearson(1, 6)
    assert 1 - (1 - low) ** 6 == pytest.approx(0.025)


def test_which_way_a_prediction_is_wrong() -> None:
    at = [measured.Turn(1.0, True), measured.Turn(2.0, True), measured.Turn(9.0, False)]
    runs = [judged.Run("k", i, t, {}) for i, t in enumerate(at)]
    by = judged.Predicted(np.array([2.0, 4.0, 1.0]), np.zeros(3), np.full(3, 9.0))
    assert parts.lean(runs, by)["value"] == pytest.approx(2.0)


def test_a_run_without_its_file_is_its_row(tmp_path: Path, monkeypatch) -> None:
    """And one with a file is read from it, though there is a row."""
    monkeypatch.setattr(worlds, "FOLDER", tmp_path)
    row = RESULTS["runs"]["report"][0]
    run = kept.run_of(row["kind"], row["seed"])
    assert kept.row(run) == row
    assert kept.run_of(row["kind"], row["seed"], 64) is None and kept.run_of(row["kind"], 1) is None
    found = {"d": np.linspace(0, 4, 81), "curve": -np.linspace(0, 4, 81)}
    found["scores"] = np.random.default_rng(0).standard_normal((3, 4, 128))
    found["gold"] = found["scores"][0]
    np.savez(worlds.place(row["kind"], row["seed"]), **found)
    run = kept.run_of(row["kind"], row["seed"])
    assert run.turn == (measured.LEAST, True) and run.reads["accuracy"] == 1.0
    assert kept.run_of(row["kind"], row["seed"], 64).reads["growth"] != run.reads["growth"]


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.1, 0.5, "better"), (-0.5, -0.1, "worse"), (-0.1, 0.2, "does not show")],
)
def test_a_difference_is_called_one_where_its_interval_says_so(low, high, says: str) -> None:
    assert says in page_says._sure({"value": (low + high) / 2, "low": low, "high": high})


def test_a_rule_that_ranks_better_or_the_wrong_way_round_is_named() -> None:
    x = lambda low, high: {"value": (low + high) / 2, "low": low, "high": high}
    said = page_says._better({"pairwise accuracy": {"a": x(-0.3, -0.1), "b": x(-0.3, 0.1)}})
    assert said == ["Pairwise accuracy alone ranks better in a by 0.20 [0.10, 0.30]."]
    ranks = {"a": {"rank": x(-0.6, -0.2)}, "b": {"rank": x(-0.2, 0.2)}}
    (said,) = page_says._wrong_way({"spread at n = 1": ranks, "the same for all": ranks})
    assert "ranks a (-0.40 [-0.60, -0.20]) the wrong way round" in said and " b " not in said


def test_what_another_run_cannot_tell_no_rule_can() -> None:
    x = lambda value, low, high: {"value": value, "low": low, "high": high}
    found = {"worlds": 10, "share of luck": x(0.7, 0.3, 1.0)}
    ranks = {"members": x(0.1, -0.2, 0.4), "pairwise accuracy": x(0.5, 0.3, 0.7)}
    said = page_says._lucky("k", {**found, "another run": x(0.1, -0.3, 0.5)}, ranks)
    assert "the reference can say little" in said
    said = page_says._lucky("k", {**found, "another run": x(0.9, 0.6, 1.0)}, ranks)
    assert "could be known" in said
    assert said.endswith("by the members, and by 0.50 [0.30, 0.70] by pairwise accuracy.")


def test_the_library_says_of_itself_what_was_measured() -> None:
    """`assay audit` prints how often the interval held; the numbers are those of the results."""
    x = RESULTS["smollm2"]["rules"]["members"]
    assert f"of {x['runs']} runs of SmolLM2 it held {x['covered']}," in TRIED
    found = RESULTS["questions"]["new seeds of known kinds"]["members minus"]
    for rule in ("spread at n = 1", "pairwise accuracy"):  # what the last sentence says
        assert found[rule]["rank within kinds"]["low"] <= 0
