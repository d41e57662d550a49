"""The watch in a whole run, from the command line: it stops, rolls back, waits for people, and
survives a kill.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import judge_by_words
import pytest

from assay import cli
from assay.engine.checkpoint import load
from assay.records.best import best
from assay.records.runs import Run, read_lines

SMALL = [
    "--world",
    "table",
    "--world.pairs",
    "200",
    "--world.members",
    "2",
    "--eval-generations",
    "4",
    "--log-completions",
    "1",
    "--eval-steps",
    "4",
]
RUN = ["run", "leave_one_out", *SMALL]
JUDGE = '''"""Labels by words that the world likes; writes down every pair that it is paid for."""
import os, time

def gold(prompts, first, second):
    for p in zip(prompts, first, second):
        with open(os.environ["PAID"], "a") as f:
            f.write(repr(p) + "\\n")
    time.sleep(float(os.environ.get("SLOW", "0")))
    worth = lambda text: sum(w.startswith("common") for w in text.split())
    pairs = [(worth(a), worth(b)) for a, b in zip(first, second)]
    return [1.0 if a > b else 0.0 if a < b else 0.5 for a, b in pairs]
'''


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("judge.py").write_text(JUDGE)
    monkeypatch.setenv("PAID", str(tmp_path / "paid"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def verdicts(folder: str) -> list[dict[str, Any]]:
    return [r["watch"] for r in Run.open(folder).readings() if r["watch"]]


def plain(folder: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in Run.open(folder).readings()]


def test_it_stops_and_the_best_checkpoint_is_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--watch", "gold", "--out", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    about = Run.open("a").about
    assert found["watch"]["word"] == "stop" and found["result"] == about["result"]
    result, watch = about["result"]["best"], about["result"]["watch"]
    assert (
        watch["stopped"]
        and watch["at"] < 100
        and result["step"] == found["watch"]["back"] < watch["at"]
    )
    assert result["chosen_by"] == "watch" and "the watch stopped the run" in result["reason"]
    assert result["file"] == f"kept-{result['step']}.safetensors" and set(
        load(Path("a") / result["file"])
    ) == {"logits"}
    end = about["result"]["last"]
    assert end["step"] == watch["at"]
    assert {p.relative_to("a").as_posix() for p in Path("a").rglob("*.safetensors")} == {
        result["file"],
        end["file"],
    }, "the best by gold, which the watch did not choose, is gone"
    top = best(Run.open("a"))
    assert (top.step, top.chosen_by) == (result["step"], "watch")
    last = Run.open("a").readings()[-1]
    assert (
        last["tag"] == "best"
        and last["stats"]["fresh/gold_kept"] > last["stats"]["fresh/gold_reference"]
    )
    assert about["watch"]["by"] == "gold" and about["watch"]["budget"] == 550
    labels = read_lines(Path("a/labels.jsonl"))
    assert len(labels) == watch["labels"] == Run.open("a").readings()[-2]["labels"] <= 550
    assert len(read_lines(Path("a/questions.jsonl"))) == len(labels)


def test_watching_changes_no_policy_and_no_reading() -> None:
    assert (
        cli.main(
            [*RUN, "--watch", "gold", "--out", "a", "--max-steps", "24", "--watch.alpha", "0.0001"]
        )
        == 0
    )
    assert cli.main([*RUN, "--out", "b", "--max-steps", "24"]) == 0
    without = [
        {k: v for k, v in r.items() if k not in ("watch", "labels", "stats")} for r in plain("a")
    ]
    assert without == [
        {k: v for k, v in r.items() if k not in ("watch", "labels", "stats")} for r in plain("b")
    ]
    result = Run.open("a").about["result"]
    assert result["watch"]["stopped"] is False
    assert result["best"]["step"] == 24 and result["best"]["chosen_by"] == "last"
    assert [p.name for p in Path("a").rglob("*.safetensors")] == ["24.safetensors"]
    gold = Run.open("b").about["result"]
    assert gold["watch"] is None and gold["best"]["chosen_by"] == "gold"
    assert gold["best"]["step"] == Run.open("b").about["best_step"]


def test_people_answer_look_by_look(capsys: pytest.CaptureFixture[str]) -> None:
    """csv: exit 3 at every look, and in the end the very verdicts that a labeler on the spot would
    have led to.
    """
    settings = [
        "--max-steps",
        "8",
        "--watch.calm",
        "3",
        "--watch.alert",
        "3",
        "--watch.reference",
        "0",
    ]
    assert cli.main([*RUN, *settings, "--watch", "judge.py:gold", "--out", "spot"]) == 0
    assert cli.main([*RUN, *settings, "--watch", "csv", "--out", "a"]) == 3
    for look in range(2):
        said = capsys.readouterr().err
        assert "3 pairs wait for a label" in said and "assay watch export a sheet.csv" in said
        assert Run.open("a").about["state"] == "waiting" and "Traceback" not in said
        sheet = f"sheet{look}.csv"
        assert cli.main(["watch", "export", "a", sheet, "--twice", "0"]) == 0
        with open(sheet, newline="", encoding="utf-8-sig") as f:
            rows = list(csv.DictReader(f))
        with open(sheet, "w", newline="", encoding="utf-8") as f:
            out = csv.DictWriter(f, rows[0].keys())
            out.writeheader()
            out.writerows(
                {**r, "better": judge_by_words.better(r["first"], r["second"])} for r in rows
            )
        assert cli.main(["watch", "import", "a", sheet]) == 0
        capsys.readouterr()
        assert cli.main(["run", "--resume", "--out", "a"]) == (3 if look == 0 else 0)
    keep = ("word", "best", "win", "labels", "log_evidence")
    assert [{k: v[k] for k in keep} for v in verdicts("a")] == [
        {k: v[k] for k in keep} for v in verdicts("spot")
    ]
    assert cli.main(["watch", "status", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["labels"] == 6 and found["waiting"] == 0 and found["verdict"]["labels"] == 6


def test_answers_go_to_gold_with_all_that_belongs_to_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A decision process: gold reads the states that an answer went through."""
    words = [
        "run",
        "leave_one_out",
        "--world",
        "table",
        "--world.testbed",
        "chain",
        "--max-steps",
        "4",
        "--eval-steps",
        "2",
    ]
    assert (
        cli.main([*words, "--watch", "gold", "--out", "a"]) == 0
        and verdicts("a")[-1]["labels"] >= 8
    )


def start(out: str, *more: str, slow: str = "0") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "assay", *more, "--out", out]
    return subprocess.Popen(
        command,
        env={**os.environ, "SLOW": slow, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_a_kill_in_the_middle_of_labeling_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path,
) -> None:
    watch = ["--watch", "judge.py:gold", "--max-steps", "16", "--watch.calm", "6"]
    assert cli.main([*RUN, *watch, "--out", "whole"]) == 0
    whole = Path("paid").read_text().splitlines()
    Path("paid").unlink()
    process = start("a", *RUN, *watch, slow="0.05")
    end = time.monotonic() + 60
    while time.monotonic() < end and (
        not Path("paid").exists() or len(Path("paid").read_text().splitlines()) < 9
    ):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stderr is not None
    process.stderr.close()
    known = len(read_lines(Path("a/labels.jsonl")))
    paid = len(Path("paid").read_text().splitlines())
    assert 8 <= known <= paid <= known + 1, (
        "at most the one that was being asked for is not yet on disk"
    )
    before = read_lines(Path("a/labels.jsonl"))
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert plain("a") == plain("whole")
    assert read_lines(Path("a/labels.jsonl"))[:known] == before
    counts = Counter(Path("paid").read_text().splitlines())
    assert sum(counts.values()) <= len(whole) + (paid - known) and set(counts) == set(whole)


@pytest.mark.full
def test_a_finished_run_is_watched_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--max-steps", "60", "--out", "a", "--policies"]) == 0
    assert cli.main([*RUN, "--max-steps", "60", "--out", "live", "--watch", "gold"]) == 0
    capsys.readouterr()
    assert cli.main(["watch", "a", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    live = verdicts("live")
    lines = err.splitlines()
    assert "watch: 550 labels for 15 looks: 26 a look" in lines[0] and "are found" in lines[1]
    assert found["looks"] == len(live) == sum(line.startswith("step") for line in lines)
    assert found["verdict"] == {**live[-1], "hints": found["verdict"]["hints"]}
    n = len(read_lines(Path("a/labels.jsonl")))
    assert cli.main(["watch", "a"]) == 0 and len(read_lines(Path("a/labels.jsonl"))) == n, (
        "nothing is paid for twice"
    )
    assert (
        cli.main(["watch", "a", "--by", "csv"]) == 3
        and "go on with `assay watch a --by csv`" in capsys.readouterr().err
    )
    capsys.readouterr()
    assert cli.main(["watch", "status", "a"]) == 0
    out = capsys.readouterr().out
    assert "waiting" in out and f"\nbest: {best(Run.open('a')).name}: its gold is" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["run", "leave_one_out", *SMALL, "--watch.budget", "9"],
            "--watch.budget says how to watch, and nothing is watched",
        ),
        (
            ["run", "leave_one_out", *SMALL, "--watch", "gold", "--watch.budgte", "9"],
            "did you mean --watch.budget",
        ),
        (
            ["run", "leave_one_out", *SMALL, "--watch", "judge.py:none"],
            "judge.py has no function none",
        ),
        (["run", "leave_one_out", *SMALL, "--watch", "http://127.0.0.1:1/v1"], "--watch.model"),
        (
            ["run", "leave_one_out", *SMALL, "--watch", "gold", "--watch.prompts", "none.txt"],
            "there is no file none.txt",
        ),
        (["watch", "nowhere"], "nowhere is not a run"),
        (["watch"], "RUN is required: the folder of a finished run"),
        (["watch", "export", "nowhere"], "SHEET is required: the CSV file"),
        (["watch", "page", "nowhere"], "nowhere has no questions for people"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, *(["--max-steps", "8"] if words[0] == "run" else [])]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if not x.startswith("building world")]
    assert len(lines) == 1 and said in lines[0], lines


def test_a_run_without_its_policies_says_which_flag_keeps_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([*RUN, "--max-steps", "8", "--out", "a"]) == 0
    assert cli.main(["watch", "a"]) == 2
    assert "run it again with --policies (assay run --from a --policies)" in capsys.readouterr().err
