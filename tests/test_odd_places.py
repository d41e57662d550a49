"""Places that are no places to write to, and files that are no files, are told in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay import cli

PAIR = '{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}\n'
OUTS = [
    ["run", "leave_one_out", "--world", "table", "--max-steps", "1", "--out"],
    ["fit", "pairs.jsonl", "--base", "words", "-o"],
    ["check", "pairs.jsonl", "--fix"],
]
READS = [["check"], ["report"], ["verify"], ["export", "--out", "m"], ["watch", "status"]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text(PAIR * 4)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    capsys.readouterr()
    assert cli.main(argv) in (1, 2)
    err = capsys.readouterr().err
    assert "Traceback" not in err and len(err.strip().splitlines()[-1]) < 1100
    return err


@pytest.mark.parametrize("argv", OUTS, ids=lambda a: a[0])
@pytest.mark.parametrize("place", ["x\0y", "\ud800", "/", "/dev/null", "pairs.jsonl/x", "a" * 300])
def test_a_place_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str], argv: list[str], place: str
) -> None:
    told(capsys, [*argv, place])


@pytest.mark.parametrize("argv", READS, ids=lambda a: a[0])
@pytest.mark.parametrize("place", ["x\0y", "\ud800", "/dev/null", "~nobody/x", "a" * 300, "pipe"])
def test_a_name_that_is_no_file_is_one_sentence(
    capsys: pytest.CaptureFixture[str], argv: list[str], place: str
) -> None:
    if place == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no named pipes")
        os.mkfifo("pipe")
    told(capsys, [*argv, place])
