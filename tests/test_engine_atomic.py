"""A file is replaced whole or not at all, and a folder has one writer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assay.engine import atomic
from assay.engine.atomic import only_writer, replacing, write_bytes


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two" and list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def interrupted() -> None:
        with replacing(path) as fresh:
            fresh.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "none" / "a.json", b"x")


def test_a_missing_folder_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), only_writer(tmp_path / "none"):
        pass


def test_a_folder_is_held_where_folders_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Windows does, run here: the lock is on a file in the folder, and another process sees
    it.
    """
    monkeypatch.setattr(atomic, "fcntl", None)
    ask = (
        "import sys, pathlib; from assay.engine import atomic; atomic.fcntl = None\n"
        "with atomic.only_writer(pathlib.Path(sys.argv[1])) as mine: print(mine)"
    )

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with only_writer(tmp_path) as mine, only_writer(tmp_path) as again:
        assert mine and not again and other() == "False"
    assert other() == "True" and [p.name for p in tmp_path.iterdir()] == [atomic.LOCK]


def test_a_folder_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with only_writer(tmp_path) as mine, only_writer(tmp_path) as theirs:
        assert mine and not theirs
    with only_writer(tmp_path) as mine:
        assert mine and not list(tmp_path.iterdir())
