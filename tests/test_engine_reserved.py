"""One process at a time makes an output; another one is told which, and a kill lets it go."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assay.engine.reserved import reserving
from assay.errors import InputError

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that makes this output while the block runs."""
    script = Path(__file__).with_name("holder.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENV,
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        yield other
        if other.poll() is None:
            other.communicate("")


def test_another_process_is_told_who_makes_the_output(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    with held(out) as other, pytest.raises(InputError) as told, reserving(out):
        pytest.fail("two processes made one output")
    assert f"is being written by process {other.pid} on " in str(told.value)
    assert "UTC): wait until it has ended, or give another place" in str(told.value)
    with reserving(out):
        assert [p.name for p in out.parent.iterdir()] == [".model.lock"]
    assert not list(tmp_path.iterdir()), "neither the lock nor the folder made for it stays"


def test_what_a_killed_process_held_is_taken_over(tmp_path: Path) -> None:
    out = tmp_path / "model"
    with held(out) as other:
        other.kill()
        other.wait()
        assert (tmp_path / ".model.lock").exists()
        with reserving(out):
            assert str(os.getpid()) in (tmp_path / ".model.lock").read_text()
    assert not list(tmp_path.iterdir())


MAKES = """
import os, sys
from pathlib import Path
from assay.engine.reserved import reserving

folder = Path(sys.argv[1])
with reserving(folder / "model", folder / "scores") as mine:
    (folder / "fresh").write_text("scores")
    mine.making(folder / "scores", folder / "fresh")
    (folder / "fresh").rename(folder / "scores")
    os._exit(0)
"""


def left(folder: Path, changed: str | None = None) -> Path:
    """What a process leaves that is killed once it has made a further file."""
    subprocess.run([sys.executable, "-c", MAKES, str(folder)], env=ENV, check=True, timeout=60)
    if changed is not None:
        (folder / "scores").write_text(changed)
    return folder / "scores"


def test_a_further_file_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    scores = left(tmp_path)
    assert scores.exists()
    with reserving(tmp_path / "model", scores):
        assert not scores.exists()


def test_a_further_file_that_has_changed_or_was_not_named_stays(tmp_path: Path) -> None:
    scores = left(tmp_path, changed="mine")
    with reserving(tmp_path / "model", scores):
        assert scores.read_text() == "mine"
    scores.unlink()
    left(tmp_path)
    with reserving(tmp_path / "model"):
        assert scores.exists()


@pytest.mark.parametrize("folder", [True, False])
def test_a_further_file_stays_once_the_output_is_whole(tmp_path: Path, folder: bool) -> None:
    """The process was killed between the output's name and the end of the hidden file."""
    out, scores = tmp_path / "model", left(tmp_path)
    if folder:
        out.mkdir()
        (out / "weights").write_text("weights")
    else:
        out.write_text("weights")
    with reserving(out, scores):
        assert scores.read_text() == "scores"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "scores"]


def test_an_error_takes_the_further_file_back(tmp_path: Path) -> None:
    out, scores = tmp_path / "model", tmp_path / "scores"

    def fails() -> None:
        with reserving(out, scores) as mine:
            scores.write_text("scores")
            mine.making(scores, scores)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert not list(tmp_path.iterdir())


def test_two_threads_of_one_process_are_two_writers(tmp_path: Path) -> None:
    with (
        reserving(tmp_path / "a"),
        pytest.raises(InputError, match=f"process {os.getpid()} on "),
        reserving(tmp_path / "a"),
    ):
        pytest.fail("one output was made twice at once")
