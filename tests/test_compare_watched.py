"""compare: the end of a run that a watch stopped is the policy that its labels chose."""

from __future__ import annotations

from pathlib import Path

import pytest

import assay
from assay.records.runs import Run

WORLD = {"world": "table", "max_steps": 90, "eval_steps": 4, "seed": 3}


def test_the_end_of_a_stopped_run_is_the_policy_that_was_chosen(tmp_path: Path) -> None:
    assay.train("leave_one_out", out=tmp_path / "plain", **WORLD)
    watch = assay.Watch(labeler="gold", budget=400)
    assay.train("leave_one_out", out=tmp_path / "watched", watch=watch, **WORLD)
    record = Run.open(tmp_path / "watched").record
    assert record.result["best"]["chosen_by"] == "watch"  # else this run tells nothing
    said = Run.open(tmp_path / "watched").readings()
    again = said[-1]["stats"]
    assert again["fresh/gold_kept"] > again["fresh/gold_last"]

    both = [tmp_path / "plain", tmp_path / "watched"]
    found = assay.compare(both, baseline="leave_one_out", apart=True)
    (world,) = found.result["worlds"]
    (mine,) = [m for m in (*world["methods"], *world["apart"]) if "gold" in m["method"]]
    reached = {k: v["mean"] for k, v in mine["reached"].items()}
    assert reached["final"] == pytest.approx(again["fresh/gold_kept"])
    assert reached["drop"] == pytest.approx(reached["peak"] - reached["final"])
    chosen = next(r for r in said if r["step"] == record.result["best"]["step"])
    assert reached["final_kl"] == pytest.approx(max(0.0, chosen["kl"]))
