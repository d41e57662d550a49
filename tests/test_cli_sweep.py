"""sweep and report from the outside, and study: grids, skipping, going on, failing without stopping
the rest.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli_run import SMALL, _elsewhere, mine, readings, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.api import flags
from assay.records.runs import Run


def test_a_grid_is_run_once_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "sweep",
        "leave_one_out",
        "worst_case",
        *SMALL,
        "--over",
        "learning_rate=0.05,0.1",
        "--over",
        "seed=0..1",
        "--out",
        "s",
    ]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [f["run"] for f in found][:3] == [
        "s/leave_one_out/learning_rate=0.05,seed=0",
        "s/leave_one_out/learning_rate=0.05,seed=1",
        "s/leave_one_out/learning_rate=0.1,seed=0",
    ]
    assert {f["state"] for f in found} == {"done"}
    assert len(found) == 8
    assert Run.open("s/worst_case/learning_rate=0.1,seed=1").about["loop"]["learning_rate"] == 0.1
    alone = ["run", "worst_case", *SMALL, "--learning-rate", "0.1", "--seed", "1", "--out", "alone"]
    assert cli.main(alone) == 0
    assert readings("alone") == readings("s/worst_case/learning_rate=0.1,seed=1"), (
        "a run in a sweep is the run by itself"
    )

    before = {p: p.stat().st_mtime_ns for p in Path("s").rglob("readings.jsonl")}
    begun = Path("s/leave_one_out/learning_rate=0.1,seed=0")
    Run.open(begun).note({"state": "running"})  # as a kill before the first save leaves it
    capsys.readouterr()
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert out.count("finished before") == 7
    assert out.count("goes on") == 1
    assert {p for p, t in before.items() if p.stat().st_mtime_ns != t} == {begun / "readings.jsonl"}
    assert Run.open(begun).about["state"] == "done"
    other = [w if w != "4" else "5" for w in words]
    said = refused(capsys, *other)
    assert "holds a run with other arguments (" in said and "give another --out" in said


def test_a_run_never_goes_on_under_other_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Its record would name the settings that it began with, and its curve would be of two."""
    words = ["sweep", "leave_one_out", *SMALL, "--seeds", "0", "--out", "s"]
    assert cli.main([*words, "--micro-batch-size", "2", "--learning-rate", "0.1"]) == 0
    before = readings("s/leave_one_out/seed=0")
    begun = ["--learning-rate", "0.1", "--save-steps", "1"]
    assert cli.main([*words, *begun]) == 0, "no reading depends on when it was saved"
    said = refused(capsys, *words)
    assert "loop.learning_rate 0.1, and this asks for 0.05" in said, "which the world decides"
    Run.open("s/leave_one_out/seed=0").note({"state": "running"})
    capsys.readouterr()
    assert cli.main(words) == 1, "what is left out is the world's"
    assert "was begun with --learning-rate 0.1" in capsys.readouterr().err
    words += begun
    said = refused(capsys, *words, "--log-completions", "3")
    assert "seed=0 holds a run with other arguments (run.log_completions 8" in said
    assert readings("s/leave_one_out/seed=0") == before


def test_a_constant_of_one_recipe_leaves_the_world_s_argument_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    both = ["sweep", "leave_one_out", "worst_case", "--world", "table", "--max-steps", "1"]
    assert cli.main([*both, "--world.members", "2", "--out", "s"]) == 0
    assert Run.open("s/leave_one_out/run").about["world"]["members"] == 2
    assert Run.open("s/worst_case/run").about["arguments"]["members"] == 0
    said = refused(capsys, *both, "--members", "1", "--out", "t")
    assert "leave_one_out in world table has no --members; did you mean --world.members?" in said


def test_a_failure_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    path = mine("if lam > 1: raise RuntimeError('too much')")
    assert cli.main(["sweep", path, *SMALL, "--over", "lam=2,0.5", "--out", "s", "--json"]) == 1
    out, err = capsys.readouterr()
    assert [(f["state"], f["reason"]) for f in json.loads(out)] == [
        ("failed", "RuntimeError: too much"),
        ("done", None),
    ]
    assert "s/mine/lam=2.0 failed: RuntimeError: too much" in err
    assert Run.open("s/mine/lam=2.0").about["state"] == "failed"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--out", "s"], "assay sweep needs a recipe, or several"),
        (["dpo"], "assay sweep needs --out"),
        (["dpo", "dpo", "--out", "s"], "a recipe is named twice"),
        (
            ["dpo", "--over", "bata=1", "--out", "s"],
            "dpo in world grammar has no --bata to vary; did you mean --beta?",
        ),
        (
            ["dpo", "sft", "--over", "beta=1", "--out", "s"],
            "sft in world grammar has no --beta to vary",
        ),
        (
            ["dpo", "--over", "beta=x", "--out", "s"],
            "--over beta is 'x', and a number was expected",
        ),
        (["dpo", "--beta", ".1,.2", "--out", "s"], "; a grid is written --over beta=.1,.2"),
        (["bradley_terry", "--out", "s"], "bradley_terry is a fit, and a sweep is of recipes"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "sweep", *words)
    assert not Path("s").exists()


def test_a_label_cannot_leave_its_folder() -> None:
    assert "/" not in flags.label({"name": "../../etc/passwd", "x": 1})
    assert flags.label({"lam": 0.1, "seed": 2}) == "lam=0.1,seed=2"


def test_report_takes_runs_and_folders_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sweep", "leave_one_out", *SMALL, "--over", "seed=0..1", "--out", "s"]) == 0
    capsys.readouterr()
    assert cli.main(["report", "s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(f["method"], f["seeds"]) for f in found] == [("leave_one_out", 2)]
    assert not Path("report.html").exists(), "--json writes only what it is told to"
    assert cli.main(["report", "s/leave_one_out/seed=0", "-o", "r.html", "--figure", "f.svg"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "r.html"
    assert Path("r.html").read_text().startswith("<!doctype html>")
    assert Path("f.svg").read_text().startswith("<svg")
    assert cli.main(["report", "s", "-o", "r.html", "--figure", "f.svg"]) == 0, (
        "a report is written anew over a report"
    )
    Path("thesis.tex").write_text("the only copy")
    record = Path("s/leave_one_out/seed=0/run.json").read_bytes()
    for words in (
        ["-o", "thesis.tex"],
        ["--figure", "thesis.tex"],
        ["-o", "s/leave_one_out/seed=0/run.json"],
        ["-o", "s"],
    ):
        assert "so it is not overwritten" in refused(capsys, "report", "s", *words)
    assert Path("thesis.tex").read_text() == "the only copy"
    assert Path("s/leave_one_out/seed=0/run.json").read_bytes() == record
    Path("empty").mkdir()
    assert "empty is not a run and holds no run" in refused(capsys, "report", "empty")
    assert "assay report needs the folders of runs" in refused(capsys, "report")


STUDY = '''"""A study of one's own."""
from assay.core import Paper, World
paper = Paper("Mine", "Me", 2026, "")

def study(world: World, *, k: int = 2):
    for i in range(k):
        yield {"i": i, "judges": len(world.task.rewards.names)}
'''


def test_a_study_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(STUDY)
    words = [
        "./mine.py",
        "--world",
        "table",
        "--world.members",
        "2",
        "--world.pairs",
        "40",
        "--k",
        "3",
        "--out",
        "a",
    ]
    assert cli.main(["study", *words]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [{"i": i, "judges": 2} for i in range(3)]
    assert [json.loads(line) for line in Path("a/lines.jsonl").read_text().splitlines()] == rows
    assert Run.open("a").about["state"] == "done"
    assert "mine is a study: start it by assay study" in refused(capsys, "run", *words)
    assert "dpo is a recipe: start it by assay run dpo" in refused(capsys, "study", "dpo")
