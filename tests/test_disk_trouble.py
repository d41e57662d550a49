"""A disk that refuses: whatever write fails, and however, a run ends in one sentence, leaves whole
files, and goes on to the same end.
"""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint as tiny
from safetensors import SafetensorError
from test_cli_run import _elsewhere, readings  # noqa: F401  (a fixture)

import assay
from assay import cli
from assay.engine import checkpoint
from assay.engine.leftovers import FILE, forget_below, fresh_path
from assay.engine.os_errors import not_written
from assay.errors import InputError, NotWritten
from assay.records.lines import read_lines, write_lines
from assay.records.runs import Run

RUN = [
    *("run", "leave_one_out", "--world", "table", "--world.pairs", "20", "--world.prompts", "2"),
    *("--world.members", "1", "--world.vocabulary", "24", "--max-steps", "2", "--save-steps", "1"),
    *("--eval-steps", "2", "--eval-generations", "2", "--batch-size", "2"),
]


class Fault:
    """Makes the n-th write of a process fail, and with `on` all later ones too."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, *, on: bool, code: int):
        self.at, self.on, self.code, self.count = at, on, code, 0
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "write_bytes"), (Path, "mkdir")):
            patch.setattr(owner, name, self.failing(getattr(owner, name)))
        patch.setattr(checkpoint, "save_file", self.failing(checkpoint.save_file, rust=True))

    def failing(self, real: Callable[..., Any], rust: bool = False) -> Callable[..., Any]:
        def write(*given: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == self.at or (self.on and self.count > self.at):
                said = os.strerror(self.code)
                if rust:
                    raise SafetensorError(f"Error while serializing: {said} (os error {self.code})")
                raise OSError(self.code, said)
            return real(*given, **named)

        return write


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The readings of a run that never failed, and how many writes it makes."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        fault = Fault(patch, 0, on=False, code=errno.ENOSPC)
        assert cli.main([*RUN, "--out", str(out)]) == 0
    return readings(str(out)), fault.count


@pytest.mark.parametrize("on", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_run_goes_on_to_the_same_end_whichever_write_fails(
    on: bool, whole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, count = whole
    assert count > 20
    for at in range(1, count + 1, 3 if on else 1):  # each one fails once, every third for good
        code = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE)[at % 5]
        out = f"at-{at}"
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            Fault(patch, at, on=on, code=code)
            assert cli.main([*RUN, "--out", out]) == 1, f"write {at} failed in silence"
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert os.strerror(code) in said.splitlines()[-1]
        assert not [p for p in Path().rglob("*") if p.name.endswith(".new")], at
        if Path(out, "run.json").exists():
            assert said.endswith(f"; then go on with: assay run --resume --out {out}\n"), said
            if not on:
                assert Run.open(out).record.state == "failed"
                assert os.strerror(code) in str(Run.open(out).record.error)
            assert cli.main(["run", "--resume", "--out", out]) == 0
        else:
            assert not Path(out).exists()
            assert cli.main([*RUN, "--out", out]) == 0
        assert readings(out) == expected, f"write {at}"


@contextmanager
def file_limit(n: int) -> Iterator[None]:
    """No file may have more than n bytes, as under `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """A run of a model of one's own."""
    rows = [{"prompt": f"please tell me about the {a}"} for a in ("mill", "gate", "pond", "river")]
    Path("asks.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("judge.py").write_text(
        "def long(prompts, completions, **columns):\n"
        "    return [float(len(c)) for c in completions]\n"
    )
    return [
        *("run", "leave_one_out", "--model", str(tiny(tmp_path / "model", "llama"))),
        *("--prompts", "asks.jsonl", "--rewards", "judge.py:long", "--held-out", "1"),
        *("--max-tokens", "4", "--max-steps", "3", "--save-steps", "1", "--batch-size", "2"),
        *("--num-generations", "2", "--eval-steps", "1"),
    ]


@pytest.mark.full
def test_a_limit_of_a_files_size_is_told_and_the_run_goes_on(
    own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the shell's `ulimit -f` in a process of its own: safetensors raises its own error."""
    limit = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))\n"
    start = f"{limit}from assay.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", start, *own, "--out", "a"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    sentence = (
        r"assay: a/carry\.safetensors: File too large \([\d.]+ kB are needed, a file may have "
        r"60\.0 kB, [\d.,]+ .B are free there\); raise the limit of a file's size \(ulimit -f\), "
        r"or give another place; then go on with: assay run --resume --out a"
    )
    assert re.fullmatch(sentence, done.stderr.splitlines()[-1]), done.stderr
    assert Run.open("a").record.state == "failed"
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert cli.main([*own, "--out", "b"]) == 0
    assert readings("a") == readings("b")


def test_python_raises_an_input_error_that_keeps_its_cause(own: list[str]) -> None:
    def train() -> None:
        assay.train(
            "leave_one_out", model=own[3], prompts=["Hi", "Hello", "Hey"], out="a", held_out=1,
            rewards=lambda prompts, completions, **columns: [len(c) for c in completions],
            max_tokens=4, max_steps=2, save_steps=1, eval_steps=1, quiet=True,
        )  # fmt: skip

    with file_limit(60_000), pytest.raises(InputError, match="File too large") as found:
        train()
    assert isinstance(found.value, NotWritten) and found.value.errno == errno.EFBIG
    assert "os error 27" in str(found.value.__cause__)
    assert "assay run --resume --out a" in str(found.value)


def test_a_disk_that_is_full_is_told(
    own: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file system of 1.2 MB, full on the way, and then read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root alone, outside a container")
    try:
        # the room is there when the run begins, and others take it
        steal = (
            "import pathlib, sys; from assay import cli; from assay.evaluation import measure\n"
            "real = measure.check_room\n"
            "def check_room(*given, **named):\n"
            "    pathlib.Path(sys.argv[1], 'others').write_bytes(b'0' * 800_000)\n"
            "measure.check_room = check_room\n"
            "sys.exit(cli.main(sys.argv[2:]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", steal, str(disk), *own, "--out", str(disk / "a")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        assert "No space left on device (" in done.stderr
        assert re.search(r"kB are needed, [\d.]+ kB are free there", done.stderr), done.stderr
        assert Run.open(disk / "a").record.state == "failed"
        assert not list(disk.rglob("*.new"))
        (disk / "others").unlink()
        assert cli.main(["run", "--resume", "--out", str(disk / "a")]) == 0
        assert cli.main([*own, "--out", "b"]) == 0
        assert readings(str(disk / "a")) == readings("b")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        capsys.readouterr()
        assert cli.main([*RUN, "--out", str(disk / "c")]) == 1
        assert capsys.readouterr().err.endswith(
            f"{disk / 'c'}: Read-only file system; give a place that can be written to\n"
        )
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.full
def test_every_verb_that_writes_says_what_was_refused(
    own: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing half written is left, so that the same command can be given again."""
    assert cli.main([*own, "--out", "a"]) == 0
    pairs = [
        {"prompt": f"p {i}", "chosen": f"good {i} words", "rejected": f"bad {i}"} for i in range(9)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    scored = [{"prompt": f"p {i // 3}", "completion": f"c {i}", "gold": i} for i in range(9)]
    Path("scored.jsonl").write_text("\n".join(map(json.dumps, scored)))
    base = str(own[3])
    for words, made in (
        (["export", "a", "--out", "m"], "m"),
        (["fit", "pairs.jsonl", "--out", "r"], "r"),
        (["fit", "pairs.jsonl", "--base", base, "--frozen", "--out", "f"], "f"),
        (["fit", "pairs.jsonl", "--base", base, "--epochs", "1", "--out", "g"], "g"),
        (["score", "judge.py:long", "scored.jsonl", "--out", "s.jsonl"], "s.jsonl"),
        (["report", "a", "-o", "page.html"], "page.html"),
        (["manual", "--out", "pages"], ""),
    ):
        capsys.readouterr()
        with file_limit(200):
            code = cli.main(words)
        said = capsys.readouterr().err
        assert code == 1 and "Traceback" not in said, (words, said)
        last = said.splitlines()[-1]
        assert re.match(rf"assay: {made}.*: File too large \(", last), said
        assert not made or not Path(made).exists(), words
        assert cli.main(words) == 0, words


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shut").mkdir(mode=0o500)
    assert cli.main([*RUN, "--out", "shut/a"]) == 2
    assert "shut/a: Permission denied; change its permissions" in capsys.readouterr().err


def test_half_of_a_line_does_not_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    write_lines(path, [{"step": 0}])
    with file_limit(path.stat().st_size + 5), pytest.raises(NotWritten, match=r"12 bytes are need"):
        write_lines(path, [{"step": 1}])
    assert path.read_bytes() == b'{"step": 0}\n'
    write_lines(path, [{"step": 1}])
    assert [row["step"] for row in read_lines(path)] == [0, 1]


def test_what_a_killed_process_left_is_deleted_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with fresh_path(tmp_path / "policies" / "1.safetensors", FILE) as own:
        left = own.with_name(own.name.replace(f".{os.getpid()}-", f".{gone.pid}-"))
    mine = tmp_path / own.name.replace(f".{os.getpid()}-", f".{os.getppid()}-")
    left.parent.mkdir()
    for path in (left, mine, tmp_path / "my.new"):
        path.write_text("half")
    forget_below(tmp_path)
    assert not left.exists() and mine.exists() and (tmp_path / "my.new").exists()


def test_only_what_the_system_refuses_is_taken_for_it() -> None:
    assert not_written(ValueError("no space left on device (os error 28)")) is None
    assert not_written(FileNotFoundError(errno.ENOENT, "No such file or directory", "x")) is None
    assert not_written(InputError("File too large (os error 27)")) is None
    full = not_written(Exception("No space left on device (os error 28)"), "m", 2_000_000)
    assert str(full).startswith("m: No space left on device (2.0 MB are needed, ")
    assert isinstance(full, OSError) and full.errno == errno.ENOSPC


def test_a_name_that_is_too_long_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "x" * 300]) == 2
    said = capsys.readouterr().err
    assert "File name too long" in said and "give a shorter name" in said
    assert "Traceback" not in said
