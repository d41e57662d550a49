"""A command that is killed anywhere is given again, and comes to the state of one that never was.

`make test` kills each command at a few of its operations, `make nightly` at all of them, also
while it recovers, and by SIGKILL at times that nobody chose.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from death_cases import CASES, Case
from deaths import KILLED, Killer
from safetensors import safe_open

# what differs from one time to the next
TIMES = ("started", "finished", "seconds", "made", "commit", "seal", "files")  # digests hold times
# of a page, and the digest of what holds one
DATE = re.compile(rb"\d{4}-\d\d-\d\d[ T]\d\d:\d\d( UTC|:\d\d\+00:00)|\b[0-9a-f]{64}\b")


def plain(value: Any) -> Any:
    """A record without what depends on when it was made."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in TIMES}
    return [plain(v) for v in value] if isinstance(value, list) else value


def state(root: Path) -> dict[str, Any]:
    """Everything in a folder of work, by name."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            found[name] = "a folder"
        elif path.suffix == ".json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [plain(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".safetensors":  # its header has no fixed order
            with safe_open(path, "pt") as f:
                tensors = {k: f.get_tensor(k).tolist() for k in sorted(f.keys())}
                found[name] = sorted((f.metadata() or {}).items()), tensors
        else:
            found[name] = DATE.sub(b"", path.read_bytes())
    return found


@dataclass(frozen=True)
class Whole:
    """A case that was run to its end: what it began with, its operations, and how it ended."""

    start: Path
    points: list[str]
    end: dict[str, Any]
    paid: list[str]


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    if not hasattr(os, "fork") or not Path("/proc/self/fd").exists():
        pytest.skip("deaths are counted in forked processes, with /proc")
    found = Killer(tmp_path_factory.mktemp("killer"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(killer: Killer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Whole]:
    """Runs a case to its end, once."""
    known: dict[str, Whole] = {}

    def of(name: str) -> Whole:
        if name not in known:
            case, start = CASES[name], tmp_path_factory.mktemp("start")
            case.files(start)
            if case.before:
                assert killer(start, [*case.before]) == 0, killer.output()
            root = tmp_path_factory.mktemp("end") / "work"
            shutil.copytree(start, root)
            killer.paid()
            assert killer(root, [*case.words]) == case.code, killer.output()
            assert not killer.unflushed(), "a loss of power could undo what it said was written"
            known[name] = Whole(start, killer.points(), state(root), killer.paid())
        return known[name]

    return of


def dies(killer: Killer, case: Case, whole: Whole, root: Path, *at: int) -> None:
    """Kill a command at an operation, its next start at another, and compare the end."""
    shutil.copytree(whole.start, root)
    where = f"after {' and '.join(whole.points[i - 1] for i in at if i <= len(whole.points))}"
    killer.paid()
    words = case.words
    for i, point in enumerate(at):
        code = killer(root, [*words], point)
        assert code == KILLED or i, (where, killer.output())
        words = case.again(root, case.words)
    code, said = killer(root, [*words]), killer.output()
    assert "Traceback" not in said, (where, said)
    assert state(root) == whole.end, (where, said)
    assert code == case.code or "never overwritten" in said or "exists" in said, (where, said)
    paid = killer.paid()
    most = max(map(int, whole.paid), default=0)
    assert sum(map(int, paid)) <= sum(map(int, whole.paid)) + most * len(at), (where, paid)
    for record in root.rglob("run.json"):  # its seal and digests are left out of the comparison
        code = killer(root, ["verify", str(record.parent)])
        assert code == 0, (where, killer.output())
    shutil.rmtree(root)


SLOW = ("claims", "export", "sweep", "fit into an empty folder")  # a quarter to two minutes each


@pytest.mark.parametrize(
    ("name", "share"),
    [
        pytest.param(name, s, marks=[pytest.mark.full] if name in SLOW else [])
        for name, case in CASES.items()
        for s in case.sample
    ],
)
def test_a_killed_command_is_given_again_and_comes_to_the_same_end(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str, share: float
) -> None:
    found = whole(name)
    at = max(1, round(share * len(found.points)))
    dies(killer, CASES[name], found, tmp_path / "work", at)


def is_refused(killer: Killer, case: Case, whole: Whole, root: Path, at: int, error: int) -> None:
    """Let the disk refuse everything from an operation on, then give the command again."""
    shutil.copytree(whole.start, root)
    code, where = killer(root, [*case.words], at, error), whole.points[at - 1]
    said = killer.output()
    assert "Traceback" not in said, (where, said)
    assert code == case.code or os.strerror(error) in said, (where, code, said)
    code, said = killer(root, [*case.again(root, case.words)]), killer.output()
    assert state(root) == whole.end, (where, said)
    assert code == case.code or "exists" in said, (where, said)
    shutil.rmtree(root)


REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EIO)


@pytest.mark.parametrize(
    ("name", "share"),
    [("score", 0.4), ("check", 0.6), ("export of a sheet", 0.3), ("import of a sheet", 0.9)],
)
def test_a_command_that_the_disk_refuses_says_so_and_may_be_given_again(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str, share: float
) -> None:
    found = whole(name)
    at = max(1, round(share * len(found.points)))
    is_refused(killer, CASES[name], found, tmp_path / "work", at, REFUSALS[at % len(REFUSALS)])


@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_the_disk_may_refuse_at_every_operation(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str
) -> None:
    found = whole(name)
    for at in range(1, len(found.points) + 1):
        error = REFUSALS[at % len(REFUSALS)]
        is_refused(killer, CASES[name], found, tmp_path / f"{at}", at, error)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_a_command_may_be_killed_at_every_operation(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str
) -> None:
    found = whole(name)
    for at in range(1, len(found.points) + 1):
        dies(killer, CASES[name], found, tmp_path / f"{at}", at)


@pytest.mark.nightly
@pytest.mark.parametrize("name", CASES)
def test_a_command_may_be_killed_again_while_it_recovers(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str
) -> None:
    found = whole(name)
    n = len(found.points)
    for i in range(1, n + 1, 2):
        dies(killer, CASES[name], found, tmp_path / f"{i}", i, 1 + (7 * i) % n)


def killed_after(root: Path, words: tuple[str, ...], seconds: float) -> int:
    """Run a command in a process of its own, and send it SIGKILL after a while."""
    started = subprocess.Popen(
        [sys.executable, "-m", "assay", *words],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parent.parent),
            "OMP_NUM_THREADS": "1",
            "PAID": str(root.with_name("paid")),
        },
    )
    try:
        return started.wait(seconds)
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGKILL)
        return started.wait()


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["run", "sweep", "fit", "claims", "watch"])
def test_a_command_may_be_killed_at_any_time(
    killer: Killer, whole: Callable[[str], Whole], tmp_path: Path, name: str
) -> None:
    case, found = CASES[name], whole(name)
    root = tmp_path / "timed"
    shutil.copytree(found.start, root)
    began = time.monotonic()
    assert killed_after(root, case.words, 600) == case.code
    lasts = time.monotonic() - began
    for i in range(10):
        root = tmp_path / f"{i}"
        shutil.copytree(found.start, root)
        words = case.words
        for _ in range(2):
            killed_after(root, words, lasts * (0.3 + 0.07 * i))
            words = case.again(root, case.words)
        killer(root, [*words])
        assert state(root) == found.end, (i, killer.output())
