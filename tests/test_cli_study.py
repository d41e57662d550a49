"""study from the outside: lines on the screen and on disk, a record of what made them, and refusals
in one sentence.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay import cli
from assay.records.runs import Run

TABLE = ["--world", "table", "--world.members", "2", "--world.pairs", "60"]
STUDY = '''"""A study of one's own."""
from assay.core import Paper, World
paper = Paper("Mine", "Me", 2026, "")

def study(world: World, *, k: int = 2, file: str = ""):
    for i in range(k):
        yield {"i": i, "nothing": float("nan"), "judges": list(world.task.rewards.names)}
'''


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STUDY)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["study", *words]) == 2
    return capsys.readouterr().err


def test_json_is_one_object_and_the_lines_are_on_disk(capsys: pytest.CaptureFixture[str]) -> None:
    Path("votes.txt").write_text("x\n")
    assert (
        cli.main(["study", "./mine.py", *TABLE, "--file", "votes.txt", "--out", "a", "--json"]) == 0
    )
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["run"] == "a" and told["recipe"] == "mine" and told["state"] == "done"
    assert told["lines"] == [
        {"i": i, "nothing": None, "judges": ["judge0", "judge1"]} for i in range(2)
    ]
    assert told["lines"] == [
        json.loads(line) for line in Path("a/lines.jsonl").read_text().splitlines()
    ]
    about = Run.open("a").about
    assert (
        about["verb"] == "study"
        and about["arguments"] == {"k": 2, "file": "votes.txt"}
        and about["seed"] == 0
    )
    assert about["world"]["pairs"] == 60 and about["fit"] is None
    assert {"votes.txt", "mine.py"} == {Path(name).name for name in about["inputs"]}


def test_a_study_can_be_made_again_from_its_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", "./mine.py", *TABLE, "--k", "3", "--out", "a"]) == 0
    assert cli.main(["study", "--from", "a", "--out", "b"]) == 0
    assert Path("b/lines.jsonl").read_text() == Path("a/lines.jsonl").read_text()
    assert Run.open("b").about["world"] == Run.open("a").about["world"]


def test_arguments_of_several_numbers_are_in_the_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(
        source.replace("k: int = 2,", "k: int = 2, sizes: tuple[int, ...] = (1, 2),")
    )
    assert cli.main(["study", "./mine.py", *TABLE, "--out", "a"]) == 0
    assert cli.main(["study", "./mine.py", *TABLE, "--sizes", "3,4", "--out", "b"]) == 0
    found = [Run.open(Path(n)).about["arguments"]["sizes"] for n in "ab"]
    assert found == [[1, 2], [3, 4]]


def test_judges_fitted_anew_are_in_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["--fit", "bradley_terry", "--fit.centre", "0", "--fit.max-steps", "5"]
    assert cli.main(["study", "./mine.py", *TABLE, *fit, "--out", "a"]) == 0
    assert Run.open("a").about["fit"] == {
        "name": "bradley_terry",
        "smoothing": 0.0,
        "centre": 0,
        "bootstrap": False,
        "max_steps": 5,
    }


def test_what_is_of_runs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--max-steps is of runs, and mine is a study" in refused(
        capsys, "./mine.py", *TABLE, "--max-steps", "5", "--out", "a"
    )
    assert "--eval-steps is of runs" in refused(
        capsys, "./mine.py", *TABLE, "--eval-steps", "5", "--out", "a"
    )
    assert "a study is not resumed" in refused(
        capsys, "./mine.py", *TABLE, "--resume", "--out", "a"
    )
    assert not Path("a").exists()


def test_a_world_that_cannot_serve_is_refused_and_leaves_no_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "--world.testbed bandit" in refused(capsys, "best_of_n_theory", *TABLE, "--out", "a")
    assert not Path("a").exists(), "the corrected command can have the folder"


ALONE = '''"""A study that makes all it needs."""
from assay.core import Claim, Paper, World
paper = Paper("Mine", "Me", 2026, "")

def study(world: World):
    yield {"there": world.name, "gold": world.gold is None}

@Claim("It is so.", arms={"study": ("./alone.py", {})}, worlds=("study",))
def claim(arms):
    """How much."""
    return 1.0
'''


def test_a_study_that_makes_all_it_needs_builds_no_world(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("alone.py").write_text(ALONE)
    assert cli.main(["study", "./alone.py", "--out", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == [{"there": "study", "gold": True}]
    assert Run.open("a").about["world"] == {"name": "study", "seed": 0}
    assert cli.main(["study", "./alone.py", *TABLE, "--out", "b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"] == [{"there": "table", "gold": False}]
    capsys.readouterr()
    assert cli.main(["study", "./alone.py", "--help"]) == 0
    assert "[default: study]" in " ".join(capsys.readouterr().out.split())
