"""A folder has one writer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assay.engine import folder_lock
from assay.engine.folder_lock import only_writer


def test_a_missing_folder_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), only_writer(tmp_path / "none"):
        pass


def test_a_folder_is_held_where_folders_cannot_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Windows does, run here: the lock is on a file in the folder, and another process sees
    it.
    """
    monkeypatch.setattr(folder_lock, "fcntl", None)
    ask = (
        "import sys, pathlib; from assay.engine import folder_lock; folder_lock.fcntl = None\n"
        "with folder_lock.only_writer(pathlib.Path(sys.argv[1])) as mine: print(mine)"
    )

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with only_writer(tmp_path) as mine, only_writer(tmp_path) as again:
        assert mine and not again and other() == "False"
    assert other() == "True" and [p.name for p in tmp_path.iterdir()] == [folder_lock.LOCK]


def test_a_folder_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with only_writer(tmp_path) as mine, only_writer(tmp_path) as theirs:
        assert mine and not theirs
    with only_writer(tmp_path) as mine:
        assert mine and folder_lock.is_fresh(tmp_path)
    assert not list(tmp_path.iterdir())
