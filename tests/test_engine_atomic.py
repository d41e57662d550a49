"""A file is replaced whole or not at all, and a folder has one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_a_folder_is_held_until_the_block_ends(tmp_path: Path) -> None:
    with only_writer(tmp_path) as mine, only_writer(tmp_path) as theirs:
        assert mine and not theirs
    with only_writer(tmp_path) as mine:
        assert mine and not list(tmp_path.iterdir())
