"""The demo's own part: one report on three runs, going on after a stop, and never over a finished
one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay import cli
from assay.cli import demo
from assay.records.runs import Run


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        demo,
        "SETTING",
        {
            "world": "table",
            "world.pairs": 40,
            "world.members": 2,
            "world.prompts": 4,
            "world.vocabulary": 24,
            "max_steps": 3,
            "batch_size": 4,
            "num_generations": 4,
            "eval_generations": 4,
        },
    )


def test_a_demo_is_told_kept_and_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "runs/demo/report.html"
    assert Path("runs/demo/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert all(any(line.startswith(name) for line in out) for name in demo.METHODS)
    before = {p: p.read_bytes() for p in Path("runs/demo").rglob("readings.jsonl")}
    assert len(before) == len(demo.METHODS)

    assert cli.main(["demo", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == "runs/demo-2/report.html"
    assert {m["recipe"] for m in found["methods"]} == set(demo.METHODS)
    assert {p: p.read_bytes() for p in Path("runs/demo").rglob("readings.jsonl")} == before

    stopped = Run.open("runs/demo-2/worst_case")
    stopped.note({"state": "running"})
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "finished before" in out
    assert out.splitlines()[-1] == "runs/demo-2/report.html"
    assert not Path("runs/demo-3").exists()


def test_the_demo_is_of_recipes_that_are_there() -> None:
    from assay.registry import catalogue

    assert {catalogue.find(name).verb for name in demo.METHODS} == {"recipe"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["demo", "fast"], "assay demo takes no arguments, and found 'fast'"),
        (["demo", "--sed", "1"], "assay demo has no --sed; did you mean --seed?"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("runs").exists()
