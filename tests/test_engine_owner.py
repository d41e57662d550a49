"""A folder that cannot be locked has an owner all the same, and a dead owner loses it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from assay.engine import folder_lock, owner
from assay.engine.folder_lock import hold, is_held, only_writer

ELSEWHERE = "a machine of another name"


@pytest.fixture(params=["locks", "cannot lock"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A disk that locks folders, and one that refuses, as some network file systems do."""
    if request.param == "cannot lock":

        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    return str(request.param)


def left_by(folder: Path, **more: Any) -> owner.Owner:
    """The file of an owner that did not let the folder go."""
    mine = owner.this_process()
    (folder / owner.OWNER).write_text(json.dumps({**asdict(mine), **more}))
    return owner.owner(folder) or mine


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_the_owner_is_named_while_a_folder_is_held(tmp_path: Path, disk: str) -> None:
    with only_writer(tmp_path) as mine:
        assert mine and is_held(tmp_path) and hold(tmp_path) is None
        assert owner.held_by(tmp_path).startswith(f"process {os.getpid()} on ")
    assert not is_held(tmp_path) and not list(tmp_path.iterdir())


def test_a_folder_goes_to_the_next_when_its_owner_is_dead(
    tmp_path: Path, disk: str, dead: int
) -> None:
    left_by(tmp_path, pid=dead)
    assert not is_held(tmp_path)
    with only_writer(tmp_path) as mine:
        assert mine
        found = owner.owner(tmp_path)
        assert found is not None and found.pid == os.getpid()


@pytest.mark.parametrize("more", [{"began": 1.0}, {"boot": "another"}])
def test_a_number_that_another_process_has_now_is_no_owner(
    tmp_path: Path, disk: str, more: dict[str, Any]
) -> None:
    left_by(tmp_path, **more)
    with only_writer(tmp_path) as mine:
        assert mine


def test_an_owner_on_another_machine_keeps_the_folder_for_its_lease(tmp_path: Path) -> None:
    left_by(tmp_path, host=ELSEWHERE)
    assert owner.take(tmp_path) is None and owner.lives(tmp_path)
    long_ago = os.stat(tmp_path / owner.OWNER).st_mtime - owner.LEASE - 1
    os.utime(tmp_path / owner.OWNER, (long_ago, long_ago))
    let_go = owner.take(tmp_path)
    assert let_go is not None
    let_go()
    assert not list(tmp_path.iterdir())


def test_an_owner_that_lives_touches_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "LEASE", 0.2)
    let_go = owner.take(tmp_path)
    assert let_go is not None
    path = tmp_path / owner.OWNER
    os.utime(path, (1.0, 1.0))
    touched = threading.Event()
    for _ in range(200):
        if path.stat().st_mtime > 1.0:
            touched.set()
            break
        threading.Event().wait(0.05)
    let_go()
    assert touched.is_set()


def test_of_many_that_take_a_dead_owners_folder_one_has_it(tmp_path: Path, dead: int) -> None:
    left_by(tmp_path, pid=dead)
    together, taken = threading.Barrier(8), []

    def take() -> None:
        together.wait()
        taken.append(owner.take(tmp_path))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    winners = [let_go for let_go in taken if let_go is not None]
    assert len(winners) == 1
    winners[0]()


def test_a_torn_owner_file_holds_for_its_lease(tmp_path: Path) -> None:
    (tmp_path / owner.OWNER).write_text('{"host": "')
    assert owner.take(tmp_path) is None
    os.utime(tmp_path / owner.OWNER, (1.0, 1.0))
    assert owner.take(tmp_path) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts from a start of the machine")
@pytest.mark.parametrize("seconds", [-86400.0, 1.0, 3600.0])
def test_an_owner_lives_on_when_the_clock_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The machine's start, by the wall clock, moves with it: so does all that psutil tells."""
    import psutil

    left_by(tmp_path)
    before = psutil.Process().create_time()
    real = psutil._pslinux.boot_time
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: real() + seconds)
    assert psutil.Process().create_time() - before == pytest.approx(seconds)
    assert owner.lives(tmp_path) and owner.take(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_a_process_that_has_ended_and_is_not_waited_for_is_no_owner(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = owner._began(ended.pid)
    left_by(tmp_path, pid=ended.pid, began=began)
    assert owner.lives(tmp_path)
    assert ended.stdin is not None
    ended.stdin.close()
    for _ in range(200):  # it ends, and stays in the table until `wait`
        if not owner.lives(tmp_path):
            break
        threading.Event().wait(0.05)
    assert not owner.lives(tmp_path)
    ended.wait()


def test_an_owner_file_of_the_future_holds_for_one_lease_only(tmp_path: Path) -> None:
    left_by(tmp_path, host=ELSEWHERE)
    path = tmp_path / owner.OWNER
    in_2099 = 4_070_908_800
    os.utime(path, (in_2099, in_2099))
    assert owner.take(tmp_path) is None  # it may live: it has its lease from now on
    assert path.stat().st_mtime < in_2099
    long_ago = path.stat().st_mtime - owner.LEASE - 1
    os.utime(path, (long_ago, long_ago))
    assert owner.take(tmp_path) is not None


@pytest.mark.parametrize("more", [{"token": "x/../../theirs"}, {"pid": "1"}, {"pid": 10**12}])
@pytest.mark.parametrize("disk", ["cannot lock"], indirect=True)
def test_an_owner_file_that_others_wrote_names_no_file_and_is_no_traceback(
    tmp_path: Path, disk: str, dead: int, more: dict[str, Any]
) -> None:
    """A folder may come from others: a token of theirs would be part of a path that is deleted."""
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    (run / f"{owner.OWNER}.x").mkdir(parents=True)
    theirs.write_text("precious")
    os.utime(theirs, (0, 0))
    left_by(run, **{"pid": dead, **more})
    os.utime(run / owner.OWNER, (0, 0))
    for _ in range(2):
        if (held := hold(run)) is not None:
            held.release()
    assert held is not None and theirs.read_text() == "precious"


def test_an_owner_file_that_is_a_link_leads_nowhere(tmp_path: Path, disk: str) -> None:
    run, theirs = tmp_path / "run", tmp_path / "theirs"
    run.mkdir()
    theirs.write_text("precious")
    (run / owner.OWNER).symlink_to(theirs)
    with only_writer(run):
        assert theirs.read_text() == "precious"
    assert theirs.read_text() == "precious"
