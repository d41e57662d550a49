"""A file is replaced or made whole, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.engine.atomic import creating, replacing, write_bytes
from assay.errors import InputError


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


def _no_links(source: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted", str(source), None, str(target))


@pytest.mark.parametrize("link", [os.link, _no_links], ids=["hard links", "a disk without them"])
def test_a_new_file_is_made_and_never_put_over_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Callable[..., None]
) -> None:
    monkeypatch.setattr(os, "link", link)
    path = tmp_path / "new" / "a.json"
    with creating(path) as fresh:
        fresh.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole" and list(path.parent.iterdir()) == [path]
    late = path.with_name("b.json")

    def overtaken() -> None:
        with creating(late) as fresh:
            fresh.write_bytes(b"ours")
            late.write_bytes(b"theirs")  # another program takes the name meanwhile

    with pytest.raises(InputError, match=r"b\.json exists and is never overwritten"):
        overtaken()
    assert late.read_bytes() == b"theirs" and sorted(path.parent.iterdir()) == [path, late]


def test_an_error_while_writing_leaves_no_new_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with creating(tmp_path / "a.json") as fresh:
            fresh.write_bytes(b"half of")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())
