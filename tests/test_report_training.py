"""Training in the report: small charts of what changed, and the bands of small charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import make

from assay.records.methods import grounds
from assay.records.runs import Run
from assay.report.comparison import panels
from assay.report.curves import Curve, y_range
from assay.report.origins import faults
from assay.report.panels import multiples
from assay.report.training import training


def trained(folder: Path, recipe: str = "plain", **stats: Any) -> Path:
    run = Run.create(
        folder, {"recipe": recipe, "world": {"name": "toy"}, "loop": {"max_steps": 20}}
    )
    for i, step in enumerate((0, 5, 10, 15, 20)):
        now = {k: v[i - 1] if isinstance(v, list) else v for k, v in stats.items()} if step else {}
        run.append({"step": step, "tag": "", "stats": {"read/length": 9.0, **now}})
    run.finish()
    return folder


def test_one_chart_for_each_statistic_that_changes(tmp_path: Path) -> None:
    a = trained(tmp_path / "a", loss=[4, 3, 2, 1], entropy=[1, 1, 1, 0.5], learning_rate=1e-5)
    b = trained(tmp_path / "b", "other", loss=[2, 2, 2, 2.5])
    (ground,) = grounds([a, b])
    row = training(ground, "t")
    assert row is not None
    assert [c.title.partition(" (")[0] for c in row.charts] == ["loss", "entropy of a decision"]
    assert "The same throughout: learning rate 1e-05." in row.how
    assert [m.text for m in row.legend] == ["plain", "other"]
    assert row.charts[0].description == "plain ends at 1.00; other ends at 2.50"
    lines = [r for r in row.charts[0].spec["data"]["values"] if r["l"] == "gold"]
    assert [(r["x"], r["y"]) for r in lines if r["m"] == "plain"] == [
        (5.0, 4.0), (10.0, 3.0), (15.0, 2.0), (20.0, 1.0)
    ]  # fmt: skip


def test_runs_that_say_nothing_of_training_have_no_section(tmp_path: Path) -> None:
    (ground,) = grounds([make(tmp_path / "a")])
    assert training(ground, "t") is None


def test_troubles_are_faults(tmp_path: Path) -> None:
    (ground,) = grounds([trained(tmp_path / "a", frac_reward_zero_std=[0.5, 1, 1, 0])])
    (said,) = [f for f in faults(ground) if "same reward" in f]
    assert said.startswith("a, in 2 of 4 readings: all completions of every prompt")


def test_small_charts_hold_the_whole_of_their_bands(tmp_path: Path) -> None:
    x, y = np.array([0.0, 1.0]), np.array([0.0, 0.1])
    wide = Curve(x, y, 0, low=y - 5, high=y + 5)
    low, high = y_range([wide])
    assert 10 / (high - low) == pytest.approx(0.6), "a wide band is seen, and is not all"
    assert high < y_range([wide, Curve(x, y, 0, low=y - 50, high=y + 50)])[1]
    some = Curve(np.arange(3.0), np.arange(3.0), 0, low=np.array([-9, 0.9, 1.9]))
    some.high = np.array([9, 1.1, 2.1])
    assert y_range([some])[1] < 3, "one wide reading does not make the axis"
    assert y_range([wide], whole_bands=True)[1] > 5.1
    (ground,) = grounds([make(tmp_path / "a")])
    row = multiples(ground, "r", "rewards")
    assert row is not None
    for c in row.charts:
        low, high = c.spec["encoding"]["y"]["scale"]["domain"]
        bands = [r["y"] for r in c.spec["data"]["values"] if r["l"] == "band"]
        assert bands and low <= min(bands) and max(bands) <= high


def test_the_panels_of_a_comparison_hold_their_bands_too(tmp_path: Path) -> None:
    runs = [make(tmp_path / f"{s}", seed=s, slope=1 + s, far=3.0) for s in range(3)]
    (ground,) = grounds(runs)
    (panel,) = panels(ground, [("plain", ground.tracks)])
    _, high = panel.spec["encoding"]["y"]["scale"]["domain"]
    bands = [r["y"] for r in panel.spec["data"]["values"] if r["l"] == "band"]
    assert bands and max(bands) <= high
