"""What the report says of a watched run: the verdict, its evidence, its labels; and in JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError
from assay.records.runs import Run
from assay.report import build, summary

HOSTILE = "<script>alert(1)</script>"


def verdict(step: int, evidence: float | None, word: str, by: str = "gold") -> dict[str, Any]:
    return {
        "word": word,
        "step": step,
        "best": 20,
        "against": 20,
        "since": 30,
        "win": 0.38,
        "low": 0.31,
        "high": 0.45,
        "labels": 4 * step,
        "bought": 4,
        "unusable": 0,
        "budget": 400,
        "log_evidence": evidence,
        "log_alarm": math.log(20),
        "alpha": 0.05,
        "delta": 0.03,
        "by": by,
        "reference": {"win": 0.75, "labels": 8},
        "notes": [],
        "hints": [
            {
                "name": "length drift",
                "why": "answers' length moved",
                "since": 20,
                "label": "hint, no guarantee",
            }
        ],
        "says": f"{word}: win rate 0.38 [0.31, 0.45] against step 20, {4 * step} labels spent",
    }


RESULT = {
    "best": {
        "step": 20,
        "tag": "",
        "file": "kept-20.safetensors",
        "chosen_by": "watch",
        "reason": "the watch stopped the run at step 30",
    },
    "last": {"step": 30, "tag": "", "file": None},
    "watch": {"stopped": True, "word": "stop", "at": 30, "best": 20, "labels": 60},
}


def run(folder: Path, watched: bool, seed: int = 0, by: str = "gold") -> Path:
    about: dict[str, Any] = {
        "recipe": "plain",
        "seed": seed,
        "world": {"name": "table", "seed": seed},
        "golds": ["gold"],
        "gold_kind": "exact",
        "loop": {"seed": seed},
        "arguments": {},
    }
    record = Run.create(
        folder, {**about, **({"watch": {"by": by, "budget": 400}} if watched else {})}
    )
    for step in (0, 10, 20, 30, 40):
        more = {
            "watch": verdict(
                step, None if step == 10 else step / 10, "stop" if step == 40 else "go_on", by
            )
        }
        record.append(
            {
                "step": step,
                "kl": 0.1 * step,
                "gold": 1.0 - (step - 20) ** 2 / 400,
                "gold_err": 0.1,
                "proxy": 0.1 * step,
                "kl_kind": "exact",
                "stats": {},
                **(more if watched and step else {}),
            }
        )
    record.finish({"result": RESULT} if watched else {})
    return folder


def test_the_panel_says_verdict_evidence_labels_and_margin(tmp_path: Path) -> None:
    page = build(
        [run(tmp_path / "a", True), run(tmp_path / "b", False)], tmp_path / "r.html"
    ).read_text("utf-8")
    assert page.count("<h3>The watch</h3>") == 1
    for said in (
        "0.38 [0.31, 0.45]",
        "160 labels spent",
        "The run’s result is the policy of step 20",
        "at least 0.470",
        "at most 0.050",
        "won 75% of 8 pairs",
        "Hint, no guarantee: answers&#39; length moved",
        "log₁₀ evidence",
    ):
        assert said in page, said
    assert "plain watch=gold" in page and "budget=400" not in page.split("Provenance")[0]
    assert "nan" not in page.split("The watch")[1].split("</figure>")[0]


def test_json_has_the_verdict_of_each_run(tmp_path: Path) -> None:
    found = summary(
        [run(tmp_path / "a", True), run(tmp_path / "b", True, seed=1), run(tmp_path / "c", False)]
    )
    watched, other = found
    assert [w["run"] for w in watched["watch"]] == ["a", "b"] and other["watch"] == [], (
        "seeds of one method stay together"
    )
    first = watched["watch"][0]
    assert first["word"] == "stop" and first["labels"] == 160 and first["after"] is False
    json.dumps(found, allow_nan=False)


def test_a_run_watched_afterwards_is_drawn_too(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", False)
    (folder / "watch.json").write_text(
        json.dumps({"watch": {}, "looks": [verdict(10, -1.0, "go_on")]})
    )
    assert summary([folder])[0]["watch"][0]["after"] is True
    assert "The watch" in build([folder], tmp_path / "r.html").read_text("utf-8")
    (folder / "watch.json").write_text("{")
    with pytest.raises(InputError, match=r"watch\.json is damaged .*; delete it, and watch"):
        summary([folder])


def test_what_a_labeler_is_called_is_escaped(tmp_path: Path) -> None:
    page = build([run(tmp_path / "a", True, by=HOSTILE)], tmp_path / "r.html").read_text("utf-8")
    assert HOSTILE not in page and "&lt;script&gt;" in page


def test_nothing_is_said_where_nothing_was_watched(tmp_path: Path) -> None:
    assert "The watch" not in build([run(tmp_path / "a", False)], tmp_path / "r.html").read_text(
        "utf-8"
    )


@pytest.mark.parametrize("lost", ["log_alarm", "alpha", "says"])
def test_a_damaged_entry_of_the_watch_is_one_sentence(tmp_path: Path, lost: str) -> None:
    folder = run(tmp_path / "a", True)
    lines = [json.loads(s) for s in (folder / "readings.jsonl").read_text().splitlines()]
    del lines[-1]["watch"][lost]
    (folder / "readings.jsonl").write_text("".join(json.dumps(s) + "\n" for s in lines))
    said = rf"readings\.jsonl: the watch's entry of step 40 has no {lost}, which the watch always"
    with pytest.raises(InputError, match=said):
        build([folder], tmp_path / "r.html")
