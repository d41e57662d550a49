"""A watched run in two processes: one of them asks, both hear the answer, and the verdicts are
those of one process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.records.runs import Run, read_lines

RUN = [
    "run",
    "leave_one_out",
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
JUDGE = '''"""Counts words that gold likes, and writes down which process paid for which pair."""
import os

def gold(prompts, first, second):
    with open(os.environ["PAID"], "a") as f:
        f.writelines(f"{os.environ.get('RANK', '0')} {p!r}\\n" for p in zip(prompts, first, second))
    worth = lambda text: sum(w.startswith("common") for w in text.split())
    pairs = [(worth(a), worth(b)) for a, b in zip(first, second)]
    return [1.0 if a > b else 0.0 if a < b else 0.5 for a, b in pairs]
'''


def launched(where: Path, processes: int, *words: str) -> tuple[list[int], list[str]]:
    """Exit codes and standard errors of one command in so many processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    there = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PAID": str(where / f"paid{processes}"),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
    }
    all_ = [
        subprocess.Popen(
            [sys.executable, "-m", "assay", *words],
            env={**there, "RANK": str(r)},
            cwd=where,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in range(processes)
    ]
    said = [p.communicate(timeout=300)[1] for p in all_]
    return [p.returncode for p in all_], said


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return [r["watch"] for r in Run.open(folder).readings() if r["watch"]]


def test_two_processes_stop_where_one_does_and_pay_once(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    for n in (1, 2):
        codes, said = launched(tmp_path, n, *RUN, "--watch", "judge.py:gold", "--out", f"r{n}")
        assert codes == [0] * n, said
    one, two = tmp_path / "r1", tmp_path / "r2"
    assert verdicts(one)[-1]["word"] == "stop" and verdicts(two) == verdicts(one)
    assert Run.open(two).about["result"] == Run.open(one).about["result"]
    for name in ("questions.jsonl", "labels.jsonl"):
        assert read_lines(two / name) == read_lines(one / name)
    paid = [(tmp_path / f"paid{n}").read_text().splitlines() for n in (1, 2)]
    assert (
        paid[0] == paid[1] and len(paid[1]) == Run.open(two).about["result"]["watch"]["labels"]
    ), "the second process asked nobody"


@pytest.mark.full
@pytest.mark.slow
def test_both_wait_for_people(tmp_path: Path) -> None:
    codes, said = launched(tmp_path, 2, *RUN, "--watch", "csv", "--max-steps", "8", "--out", "a")
    assert codes == [3, 3], said
    assert "wait for a label" in said[0] and Run.open(tmp_path / "a").about["state"] == "waiting"
    assert len(read_lines(tmp_path / "a" / "questions.jsonl")) == 400 // 2, (
        "the first of two looks wants half of 400"
    )
