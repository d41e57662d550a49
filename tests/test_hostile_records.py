"""A run's files damaged in one place, read by every verb: one sentence, no traceback."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.api import execution
from assay.errors import InputError

TABLE = "--world table --world.pairs 40 --world.members 1 --max-steps 2 --eval-steps 1"
MORE = "--eval-generations 2 --log-completions 2 --policies --watch gold --watch.budget 8"
# what stands in place of a value; a text that begins with RAW is written without quotes
BAD: list[Any] = [
    None, True, -1, 10**30, 1e300, "", "\ud800\x1b[2J", "a\x00b", "x" * 300, [], [None], {},
    {"a": 1}, "RAW1e999", "RAWNaN", "RAWDEEP", "RAW" + "9" * 5000,
]  # fmt: skip
GONE = object()
PLACES = {  # entries that code reads by name
    "run.json": [
        ("world",), ("world", "name"), ("world", "seed"), ("loop", "max_steps"), ("loop",),
        ("fit",), ("run",), ("run", "eval_steps"), ("watch",), ("watch", "by"), ("paper",),
        ("paper", "year"),
        ("result",), ("result", "best"), ("result", "best", "file"), ("result", "watch"),
        ("recipe",), ("result", "last", "step"), ("seed",), ("rewards",), ("golds",),
        ("inputs",), ("path",),
        ("schema",), ("state",), ("arguments", "member"), ("machine",), ("versions",), ("error",),
    ],
    "readings.jsonl": [
        ("step",), ("gold",), ("kl",), ("stats",), ("stats", "loss"), ("rewards",), ("cost",),
        ("tag",), ("watch", "log_alarm"), ("watch", "says"), ("watch", "notes"), ("watch", "best"),
        ("watch", "hints"), ("watch", "reference"), ("watch", "labels"), ("watch", "win"), ("n",),
    ],
    "samples.jsonl": [("place",), ("completion",), ("prompt",), ("step",), ("golds",)],
    "questions.jsonl": [("id",), ("place",), ("first",), ("columns",), ("who",)],
    "labels.jsonl": [("id",), ("label",), ("cost",), ("by",), ("place",), ("step",)],
    "watch.json": [("looks",), ("looks", 0), ("looks", 0, "says"), ("looks", 0, "win")],
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, and what a later watch would say of it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert (
        cli.main(
            ["run", "leave_one_out", *TABLE.split(), *MORE.split(), "--out", str(folder), "-q"]
        )
        == 0
    )
    lines = [json.loads(s) for s in (folder / "readings.jsonl").read_text().splitlines()]
    looks = [r["watch"] for r in lines if r["watch"]]
    (folder / "watch.json").write_text(json.dumps({"watch": {}, "looks": looks}))
    return folder


@pytest.fixture(autouse=True)
def no_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a verb does after it has read the run takes long and is tried elsewhere."""

    class Refused:
        def __call__(self, asked: Any, goes_on: Any = None) -> Any:
            raise InputError("the world would be built now")

    monkeypatch.setattr(execution, "Worlds", Refused)
    monkeypatch.setattr("vl_convert.vegalite_to_svg", lambda *given: "<svg></svg>")


def damaged(value: Any, at: tuple[str | int, ...], bad: Any) -> str:
    """JSON with another value at one place."""
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key] if inner[key] is not None else {}
    if bad is GONE and isinstance(inner, dict):
        inner.pop(at[-1], None)
    elif bad is not GONE:
        inner[at[-1]] = bad
    text = json.dumps(value)
    text = text.replace('"RAWDEEP"', "[" * 100_000 + "]" * 100_000)
    return text.replace('"RAW1e999"', "1e999").replace('"RAWNaN"', "NaN").replace(
        f'"RAW{"9" * 5000}"', "9" * 5000
    )  # fmt: skip


def cases(seed: int, n: int) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    rng = random.Random(seed)
    every = [(f, at, bad) for f, places in PLACES.items() for at in places for bad in (*BAD, GONE)]
    yield from rng.sample(every, n)


def verbs(run: str, beside: Path) -> list[list[str]]:
    return [
        ["report", run, "--json"],
        ["report", run, "-o", str(beside / "r.html")],
        ["compare", run, "--json"],
        ["watch", "status", run],
        ["watch", "status", run, "--json"],
        ["watch", "export", run, str(beside / "s.csv")],
        ["watch", run, "--by", "gold"],
        ["export", run, "--out", str(beside / "m")],
        ["run", "--resume", "--out", run],
        ["run", "--from", run, "--out", str(beside / "n")],
        ["sweep", "--resume", "--out", str(Path(run).parent)],
        ["track", run],
    ]


def damage_once(
    whole: Path, tmp_path: Path, file: str, at: tuple[str | int, ...], bad: Any, unfinished: bool
) -> str:
    run = tmp_path / "runs" / "run"
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    shutil.copytree(whole, run)
    if unfinished:  # what a finished record says of the run has to be found again
        about = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**about, "state": "running", "result": None}))
    path = run / file
    if file.endswith(".jsonl"):
        *lines, last = path.read_text().splitlines()
        if file == "readings.jsonl":  # the last look of the watch comes before the second reading
            lines, last = [*lines[:-1], last], lines[-1]
        lines.append(damaged(json.loads(last), at, bad))
        path.write_text("".join(f"{line}\n" for line in lines))
    elif not (unfinished and at[0] == "result" and len(at) > 1):
        path.write_text(damaged(json.loads(path.read_text()), at, bad))
    return str(run)


def check(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int, n: int, share: int
) -> None:
    rng = random.Random(seed)
    for i, (file, at, bad) in enumerate(cases(seed, n)):
        run = damage_once(whole, tmp_path, file, at, bad, unfinished=i % 2 == 1)
        for words in rng.sample(verbs(run, tmp_path), share):
            code = cli.main(words)
            said = capsys.readouterr()
            case = f"{words} with {file} {at} = {str(bad)[:20]!r}: {said.err[-2000:]}"
            assert "Traceback" not in said.err, case
            assert "\x1b" not in said.out + said.err, case
            assert code in (0, 1, 2, 3), case
            if code == 0 and "--json" in words:
                json.loads(said.out, parse_constant=lambda name, case=case: pytest.fail(case))


def test_a_damaged_record_is_one_sentence_for_every_verb(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(whole, tmp_path, capsys, seed=0, n=40, share=3)


@pytest.mark.full
def test_every_damage_is_one_sentence_for_every_verb(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(whole, tmp_path, capsys, seed=1, n=600, share=len(verbs("", tmp_path)))


@pytest.mark.parametrize("entry", [["a", 5], [1], [-5, "x"], [10**9, None], [True, "x"], {}, []])
def test_a_checksum_that_is_none_is_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: Any
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    about = json.loads((run / "run.json").read_text())
    about["files"]["readings.jsonl"] = entry
    (run / "run.json").write_text(json.dumps(about))
    assert cli.main(["verify", str(run)]) == 1
    assert cli.main(["report", str(run), "--json"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_line_of_labels_without_a_label_is_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = damage_once(whole, tmp_path, "labels.jsonl", ("label",), GONE, unfinished=False)
    assert cli.main(["watch", "status", run]) == 2
    assert "with neither a label nor undone" in capsys.readouterr().err


def test_code_that_came_with_a_run_is_not_executed(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "sent"
    shutil.copytree(whole, run)
    ran = tmp_path / "ran"
    (run / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    about = json.loads((run / "run.json").read_text())
    for more in (
        {"path": f"{run}/evil.py", "recipe": "evil"},
        {"world": {"name": f"{run}/evil.py"}},
        {"watch": {**about["watch"], "by": f"{run}/evil.py:better"}},
    ):
        (run / "run.json").write_text(json.dumps({**about, "state": "running", **more}))
        for words in (["run", "--resume", "--out", str(run)], ["run", "--from", str(run)]):
            assert cli.main(words) == 2
            said = capsys.readouterr().err
            assert "evil.py, which lies in the run's own folder" in said and not ran.exists()
