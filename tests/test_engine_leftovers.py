"""What a killed process was making is found by its name; what a living one makes is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from assay.engine import leftovers
from assay.engine.atomic import is_free, is_free_folder, replacing, write_bytes
from assay.engine.leftovers import FILE, FOLDER, fresh_path, is_leftover
from assay.engine.whole_folder import whole_folder
from assay.errors import InputError

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
MOVES = """
import os, sys
from pathlib import Path
from assay.engine.whole_folder import whole_folder

os.path.ismount = lambda path: True
moves = []

def dies(path, target):
    moves.append(path)
    if len(moves) == 2:
        os._exit(0)
    os.rename(path, target)

Path.rename = dies
with whole_folder(Path(sys.argv[1])) as fresh:
    for name in "abc":
        (fresh / name).write_text(name)
"""


def gone() -> int:
    """The number of a process that has ended."""
    other = subprocess.Popen([sys.executable, "-c", ""])
    other.wait()
    return other.pid


def fresh_of(path: Path, pid: int, kind: str = FILE) -> Path:
    """The name that another process of this machine would have given."""
    with fresh_path(path, kind) as own:
        return own.with_name(own.name.replace(str(os.getpid()), str(pid), 1))


def test_two_threads_write_one_file_at_once(tmp_path: Path) -> None:
    path, meet = tmp_path / "a.txt", threading.Barrier(2)

    def write(text: str) -> None:
        with replacing(path) as fresh:
            fresh.write_text(text)
            meet.wait(10)

    threads = [threading.Thread(target=write, args=(t,)) for t in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in ("one", "two") and list(tmp_path.iterdir()) == [path]


def test_the_next_write_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    left = fresh_of(path, gone())
    left.write_text("half")
    assert is_leftover(left)
    alive = fresh_of(path, os.getppid())
    alive.write_text("half")
    other = fresh_of(tmp_path / "b.txt", gone())
    other.write_text("half")
    write_bytes(path, b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a.txt", alive.name, other.name])


def test_a_users_file_whose_name_is_nearly_one_stays(tmp_path: Path) -> None:
    """Numbered parts and files called new are people's; so is an empty file beside a leftover."""
    theirs = [f"model.part-{gone()}", "model.part-02", f"model.{gone()}.new", "model"]
    for name in theirs:
        (tmp_path / name).touch()
    left = fresh_of(tmp_path / "model.json", gone())  # of another file, whose name begins alike
    left.write_text("half")
    assert not is_free(tmp_path / "model")
    leftovers.forget_below(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(theirs)


@pytest.mark.parametrize("name", ["run.part-1-0000-abcdef", "x.part-1-0000-abcdef"])
def test_a_folder_that_others_sent_deletes_nothing_outside_of_it(tmp_path: Path, name: str) -> None:
    for kept in (tmp_path / "precious", tmp_path / "run" / "kept"):
        kept.mkdir(parents=True)
    left = tmp_path / "run" / name
    left.mkdir()
    outside = ["../precious", str(tmp_path / "precious"), "..", ".", ""]
    (left / leftovers.MOVING).write_text(
        "\0".join(outside + (["kept"] if name.startswith("x.") else []))
    )
    os.utime(left, (0, 0))
    leftovers.forget_below(tmp_path / "run")
    assert not left.exists() and (tmp_path / "run" / "kept").is_dir()
    assert (tmp_path / "precious").is_dir()


def test_another_machines_file_is_a_leftover_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fresh_of(tmp_path / "a", gone())
    path.write_text("half")
    monkeypatch.setattr(leftovers, "_host", lambda: "0000")
    assert not is_leftover(path)
    os.utime(path, (0, 0))
    assert is_leftover(path)


@pytest.mark.parametrize("shift", [-10 * 365 * 86400, -3600, 3600, 10 * 365 * 86400])
def test_a_clock_that_is_set_deletes_nothing_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float
) -> None:
    now = time.time
    with fresh_path(tmp_path / "a", FILE) as mine:
        alive = fresh_of(tmp_path / "a", os.getppid())
        elsewhere = alive.with_name(alive.name.replace(leftovers._host(), "0000"))
        for path in (mine, alive, elsewhere):
            path.write_text("half")
        monkeypatch.setattr(time, "time", lambda: now() + shift)
        write_bytes(tmp_path / "a", b"whole")
        assert mine.exists() and alive.exists() and elsewhere.exists()


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".txt")  # 254 bytes
    write_bytes(path, b"whole")
    left = fresh_of(path, gone())
    left.write_text("half")
    assert is_free(tmp_path / "other") and not is_free(path) and not left.exists()


def test_a_folder_that_a_kill_left_is_free_again(tmp_path: Path) -> None:
    out = tmp_path / "model"
    beside = fresh_of(out, gone(), FOLDER)
    (beside / "deep").mkdir(parents=True)
    assert is_free_folder(out) and not beside.exists()
    out.mkdir()
    (out / fresh_of(out, gone(), FOLDER).name).mkdir()
    assert is_free_folder(out) and not list(out.iterdir())
    (out / "mine").touch()
    assert not is_free_folder(out)


def test_a_folder_on_a_disk_of_its_own_is_filled_and_a_kill_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "model"
    out.mkdir()
    killed = subprocess.run([sys.executable, "-c", MOVES, str(out)], env=ENV, timeout=60)
    assert killed.returncode == 0
    assert (out / "a").exists(), "one file was moved before the kill"
    assert is_free_folder(out) and not list(out.iterdir())
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with whole_folder(out) as fresh:
        (fresh / "a").write_text("a")
    assert [p.name for p in out.iterdir()] == ["a"]


def test_a_name_that_was_claimed_without_hard_links_is_free_again(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    assert not is_free(path), "an empty file may be somebody's"
    fresh_of(path, gone()).write_text("whole")
    assert is_free(path) and not list(tmp_path.iterdir())


def test_a_link_to_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with whole_folder(tmp_path / "link") as fresh:
        (fresh / "a").touch()
    assert (tmp_path / "there" / "a").exists() and (tmp_path / "link").is_symlink()


def test_a_file_in_the_place_of_a_folder_stays(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "a") as fresh:
            (fresh / "b").touch()
            (tmp_path / "a").write_text("early")

    with pytest.raises(InputError, match="was written by another process"):
        fill()
    assert (tmp_path / "a").read_text() == "early" and len(list(tmp_path.iterdir())) == 1
