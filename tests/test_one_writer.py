"""Two starts of one command: the second one is told who is at work, writes nothing, and buys
nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from death_cases import JUDGE, RUN, WATCH, WORLD, questions, rows
from test_engine_reserved import ENV, held

from assay import cli
from assay.records.lines import read_lines
from assay.watch.labelers.questions import current_labels

SWEEP = ("sweep", "leave_one_out", *WORLD, "--seeds", "0..1", "--out", "s")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows(tmp_path)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("s", SWEEP),
        ("reward", ("fit", "pairs.jsonl", "--members", "1", "--out", "reward")),
        ("scored.jsonl", ("score", "judge.py:worth", "texts.jsonl", "--out", "scored.jsonl")),
        (
            "claims/worst_case.table.json",
            ("claims", "--run", "worst_case", *WORLD, "--seeds", "100"),
        ),
        ("curve.json", ("bon", "texts.jsonl", "--gold", "gold", "-o", "curve.json")),
    ],
)
def test_the_second_start_is_told_who_makes_the_output(
    output: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(output).parent.mkdir(exist_ok=True)
    with held(Path(output)) as other:
        before = sorted(Path().rglob("*"))
        assert cli.main([*words]) == 2
        said = capsys.readouterr().err
        assert f"{output} is being written by process {other.pid} on " in said
        assert len(said.strip().splitlines()) == 1 and sorted(Path().rglob("*")) == before


@contextmanager
def page() -> Iterator[str]:
    """A page of the run `a`, served by another process; gives its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "assay", "watch", "page", "a", "--twice", "0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    ) as other:
        try:
            assert other.stdout is not None
            yield str(json.loads(other.stdout.readline())["address"])
        finally:
            other.kill()


def test_one_process_takes_a_runs_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions(tmp_path)
    for words in (["page", "a"], ["import", "a", "filled.csv"]):
        with page():
            assert cli.main(["watch", *words]) == 2
        said = capsys.readouterr().err
        assert "a/labels.jsonl is being written by process " in said
        assert "end it there (Ctrl-C ends a page)" in said
        assert not Path("a/labels.jsonl").exists()
    assert cli.main(["watch", "import", "a", "filled.csv"]) == 0, "a killed page holds nothing"
    assert len(current_labels(read_lines(Path("a/labels.jsonl")))) == 4


SLOW = (
    f"{JUDGE.split('def worth')[0]}"
    + """
fast = better

def slow(prompts, first, second):
    import time
    while not os.path.exists("go"):
        time.sleep(0.05)
    return fast(prompts, first, second)
"""
)


@pytest.mark.parametrize("late", [False, True])
def test_two_watches_buy_the_labels_of_one(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("judge.py").write_text(SLOW)
    monkeypatch.setenv("PAID", str(tmp_path / "paid"))
    assert cli.main([*RUN, "--policies"]) == 0
    words = [w.replace("better", "slow") for w in WATCH]
    with subprocess.Popen(
        [sys.executable, "-m", "assay", *words],
        env={**ENV, "PAID": str(tmp_path / "paid"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        try:
            while not Path("a/questions.jsonl").exists():
                assert first.poll() is None
                time.sleep(0.05)
            capsys.readouterr()
            if not late:
                assert cli.main(words) == 2
                assert " is writing to a" in capsys.readouterr().err
            Path("go").touch()
            assert first.wait(120) == 0
        finally:
            first.kill()
    bought = len(read_lines(Path("a/labels.jsonl")))
    assert bought == sum(map(int, Path("paid").read_text().splitlines())) <= 24
    if late:
        assert cli.main(words) == 0, "what was labeled is not paid for again"
        assert len(read_lines(Path("a/labels.jsonl"))) == bought
    assert os.path.exists("a/watch.json")
