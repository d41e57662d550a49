"""A run that was stopped, failed or was killed: what its record says, and how it goes on."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_cli_run import MINE, SMALL, _elsewhere, mine, readings, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.engine import checkpoint
from assay.engine.folder_lock import only_writer
from assay.records.best import state_of, state_said
from assay.records.runs import Run


@pytest.mark.parametrize(
    ("act", "code", "said"),
    [
        (
            "if t == 2: from assay.core import NotFinite; raise NotFinite('a number is not "
            "finite')",
            1,
            "a number is not finite",
        ),
        ("if t == 2: raise RuntimeError('out of luck')", 1, "RuntimeError: out of luck"),
        (
            "if t == 2: from assay.core import InputError; raise InputError('the file is wrong')",
            2,
            "the file is wrong",
        ),
        (
            "if t == 2: raise KeyboardInterrupt",
            130,
            "stopped; go on with: assay run --resume --out a",
        ),
    ],
)
def test_what_goes_wrong_on_the_way_is_said_recorded_and_mended(
    act: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine(act)
    assert cli.main(["run", path, *SMALL, "--save-steps", "1", "--out", "a"]) == code
    assert said in capsys.readouterr().err.splitlines()[-1]
    about = Run.open("a").about
    assert about["state"] == ("interrupted" if code == 130 else "failed")
    assert code == 130 or said.removeprefix("RuntimeError: ") in about["error"]
    mine()  # mended; and what was done before is not done again
    sys.modules.pop("assay_mine_mine")
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert (Run.open("a").about["state"], Run.open("a").about.get("error")) == ("done", None)
    assert cli.main(["run", path, *SMALL, "--save-steps", "1", "--out", "b"]) == 0
    assert readings("a") == readings("b")


def test_a_run_goes_on_as_it_began(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.main(
            [
                "run",
                mine("if t == 2: raise RuntimeError('x')"),
                *SMALL,
                "--save-steps",
                "1",
                "--out",
                "a",
            ]
        )
        == 1
    )
    assert "a was begun with --lam 0.5 and this asks for 0.7" in refused(
        capsys, "run", "--resume", "--out", "a", "--lam", "0.7"
    )
    assert "a was begun with --max-steps 4 and this asks for 9" in refused(
        capsys, "run", "--resume", "--out", "a", "--max-steps", "9"
    )
    assert "a is a run of mine, and dpo was asked for" in refused(
        capsys, "run", "dpo", "--resume", "--out", "a"
    )
    carry = Path("a/carry.safetensors")
    whole = carry.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\0" * len(whole), b"x" + whole[1:]):
        carry.write_bytes(damaged)
        said = refused(capsys, "run", "--resume", "--out", "a")
        assert "a/carry.safetensors is damaged" in said
        assert "delete it to start this run over" in said
    Path("a/run.json").write_text("{")
    assert "a/run.json is damaged" in refused(capsys, "run", "--resume", "--out", "a")


def test_two_processes_never_write_to_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    path = mine("if t == 2: raise RuntimeError('out of luck')")
    assert cli.main(["run", path, *SMALL, "--out", "a"]) == 1
    before = Path("a/readings.jsonl").read_bytes(), Path("a/run.json").read_bytes()
    with only_writer(Path("a")):
        said = refused(capsys, "run", "--resume", "--out", "a")
    assert " is writing to a: wait until it has ended" in said
    assert before == (Path("a/readings.jsonl").read_bytes(), Path("a/run.json").read_bytes())


def test_a_full_disk_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "a/run.json")

    monkeypatch.setattr(cli, "_dispatch", full)
    assert cli.main(["list"]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"assay: a/run\.json: No space left on device \([\d.,]+ .?B are free there\); make room "
        r"there, or give another place\n",
        said,
    )


def test_killed_and_resumed_from_outside(tmp_path: Path) -> None:
    """SIGKILL at some moment; the same command with --resume gives the readings of a run that was
    never stopped.
    """
    slow = mine("import time; time.sleep(0.05)")
    longer = [
        "40" if before == "--max-steps" else word for before, word in zip(["", *SMALL], SMALL)
    ]
    words = [
        sys.executable,
        "-m",
        "assay",
        "run",
        slow,
        *longer,
        "--save-steps",
        "3",
        "--resume",
        "--out",
    ]
    quiet: dict[str, Any] = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
    }
    process = subprocess.Popen([*words, "a"], **quiet)
    began = time.monotonic()
    lines = Path("a/readings.jsonl")
    while process.poll() is None and time.monotonic() - began < 120:
        if lines.exists() and lines.read_bytes().count(b"\n") >= 5:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"
    killed = Run.open("a")
    assert killed.about["state"] == "running" and state_of(killed) == "stopped"
    assert "stopped without a word at step" in state_said(killed)
    assert "go on with: assay run --resume --out a" in state_said(killed)
    mine()
    assert subprocess.run([*words, "a"], **quiet).returncode == 0
    assert subprocess.run([*words, "b"], **quiet).returncode == 0
    assert readings("a") == readings("b")
    assert len(readings("a")) > 20


def test_sigterm_leaves_an_interrupted_run_that_goes_on(tmp_path: Path) -> None:
    path = mine("import time; time.sleep(0.05)")
    longer = [
        "40" if before == "--max-steps" else word for before, word in zip(["", *SMALL], SMALL)
    ]
    words = [sys.executable, "-m", "assay", "run", path, *longer, "--out"]
    quiet: dict[str, Any] = {"text": True, "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen(
        [*words, "a"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **quiet
    )
    began, lines = time.monotonic(), Path("a/readings.jsonl")
    while process.poll() is None and time.monotonic() - began < 120 and not lines.exists():
        time.sleep(0.02)
    assert state_of(Run.open("a")) == "running", "its process holds the folder"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "assay: stopped; go on with: assay run --resume --out a"
    found = Run.open("a")
    assert found.about["state"] == "interrupted" and "interrupted at step" in state_said(found)
    mine()
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert cli.main(["run", path, *longer, "--out", "b"]) == 0
    assert readings("a") == readings("b")


def test_a_finished_run_keeps_weights_alone_and_says_what_is_possible(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["run", "leave_one_out", *SMALL, "--save-steps", "1", "--out", "a"]) == 0
    result = Run.open("a").record.result
    assert result is not None
    named = {p["file"] for p in (result["best"], result["last"]) if p["file"]}
    assert {p.relative_to("a").as_posix() for p in Path("a").rglob("*.safetensors")} == named
    before = Path("a/readings.jsonl").read_bytes()
    capsys.readouterr()
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    err = capsys.readouterr().err
    assert "a is done already, all of its 4 steps are made" in err
    assert cli.main(["run", "--resume", "--out", "a", "--max-steps", "16"]) == 2
    said = capsys.readouterr().err
    assert "a is done already" in said and "assay run --from a --max-steps N" in said
    assert "assay run --from a --max-steps N --out FOLDER" in err
    assert Path("a/readings.jsonl").read_bytes() == before


def test_a_run_that_will_not_fit_on_the_disk_is_refused_before_its_first_step(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(".")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    said = refused(capsys, "run", "leave_one_out", *SMALL, "--out", "a")
    assert "a will need up to" in said and "two checkpoints to go on from" in said
    assert "give --out on another disk" in said
    assert not Path("a").exists()


def test_a_disk_that_is_full_on_the_way_loses_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written, real = [0], checkpoint.save_file

    def full(tensors: Any, path: str, metadata: Any = None) -> None:
        written[0] += 1
        if written[0] > 3:
            raise checkpoint.SafetensorError("Error while serializing: No space left on device")
        real(tensors, path, metadata=metadata)

    monkeypatch.setattr(checkpoint, "save_file", full)
    words = ["run", "leave_one_out", *SMALL, "--save-steps", "1", "--out"]
    assert cli.main([*words, "a"]) == 1
    said = capsys.readouterr().err
    assert re.search(
        r"a/(carry|policies/\d+)\.safetensors: No space left on device \([\d.]+ kB are needed, "
        r"[\d.,]+ .B are free there\); make room there, or give another place; then go on with: "
        r"assay run --resume --out a\n",
        said,
    )
    assert "Traceback" not in said
    assert Run.open("a").record.state == "failed" and not list(Path("a").rglob("*.new"))
    monkeypatch.setattr(checkpoint, "save_file", real)
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert cli.main([*words, "b"]) == 0
    assert readings("a") == readings("b")


def test_a_constant_of_several_values_is_recorded_and_goes_on() -> None:
    text = MINE.replace("{act}", "pass").replace(
        "lam: float = 0.5", "few: tuple[str, ...] = ('a',)"
    )
    Path("several.py").write_text(text)
    assert cli.main(["run", "./several.py", "--few", "b,c", "--out", "run", *SMALL]) == 0
    assert Run.open("run").about["arguments"] == {"few": ["b", "c"]}
    assert (
        cli.main(["run", "./several.py", "--few", "b,c", "--out", "run", *SMALL, "--resume"]) == 0
    )
