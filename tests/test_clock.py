"""A clock that is wrong, or is set while a command runs, changes dates in records and no more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock, preload
from death_cases import CASES, questions
from deaths import KILLED, Killer
from test_deaths import state

from assay.engine import owner
from assay.records.lines import read_lines
from assay.watch.labelers.questions import current_labels

YEAR_1970, YEAR_2099 = "@1970-01-02 03:04:05", "@2099-12-31 23:59:00"
NEGATIVE = re.compile(r"(?<![\w.])[-−]\d[\d.]* ?(s|ms|min|h|steps/s|/s|it/s)\b")
DURATIONS = ("seconds", "took", "rate", "per_second")


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    library = preload()
    if library is None:
        pytest.skip("faketime is not installed, which lets a test set its clock")
    return Clock(tmp_path_factory.mktemp("clock") / "clock", library)


@pytest.fixture(scope="module")
def killer(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    found = clock.killer(tmp_path_factory.mktemp("killer"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(
    clock: Clock, killer: Killer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, dict[str, Any], int]]:
    """Of a command: what lies there before, how it ends under a good clock, and its operations."""
    known: dict[str, tuple[Path, dict[str, Any], int]] = {}

    def of(name: str) -> tuple[Path, dict[str, Any], int]:
        if name not in known:
            case, start = CASES[name], tmp_path_factory.mktemp("start")
            clock.at("+0d")
            case.files(start)
            if case.before:
                assert killer(start, [*case.before]) == 0, killer.output()
            root = tmp_path_factory.mktemp("end") / "work"
            shutil.copytree(start, root)
            assert killer(root, [*case.words]) == case.code, killer.output()
            known[name] = start, state(root), len(killer.points())
        return known[name]

    return of


def durations(value: Any) -> Iterator[float]:
    """The durations and rates in a record."""
    if isinstance(value, dict):
        for k, v in value.items():
            if any(d in k for d in DURATIONS) and isinstance(v, (int, float)):
                yield v
            yield from durations(v)
    elif isinstance(value, list):
        for v in value:
            yield from durations(v)


def ends_as(killer: Killer, root: Path, end: dict[str, Any]) -> None:
    """The folder is as under a good clock, nothing took less than no time, and it verifies."""
    said = killer.output()
    assert "Traceback" not in said and not NEGATIVE.search(said), said
    assert state(root) == end, said
    for path in root.rglob("*.json*"):
        for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
            assert all(d >= 0 for d in durations(json.loads(line))), path
    for folder in {path.parent for path in root.rglob("run.json")}:
        assert not list(folder.glob(".owner*")), "a lock is left"
        assert killer(root, ["verify", str(folder)]) == 0, killer.output()


def dates(root: Path) -> tuple[datetime, datetime]:
    about = json.loads((root / "a" / "run.json").read_text())
    return datetime.fromisoformat(about["started"]), datetime.fromisoformat(about["finished"])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("+0d", "-1d"),
        *(
            pytest.param(*two, marks=pytest.mark.nightly)
            for two in [(YEAR_2099, YEAR_1970), (YEAR_1970, YEAR_2099), ("+400d", "+0d")]
        ),
    ],
)
def test_a_run_that_was_killed_goes_on_under_another_clock(
    clock: Clock, killer: Killer, undisturbed: Any, tmp_path: Path, first: str, then: str
) -> None:
    start, end, n = undisturbed("run")
    root = tmp_path / "work"
    shutil.copytree(start, root)
    clock.at(first)
    assert killer(root, [*CASES["run"].words], round(0.6 * n)) == KILLED
    assert (root / "a" / owner.OWNER).exists()
    clock.at(then)
    assert killer(root, ["run", "--resume", "--out", "a"]) == 0, killer.output()
    ends_as(killer, root, end)
    began, finished = dates(root)
    assert (finished < began) == (then in ("-1d", YEAR_1970) or first == "+400d")
    assert killer(root, ["report", "a", "-o", "page.html"]) == 0, killer.output()
    assert not NEGATIVE.search(killer.output())


@pytest.mark.parametrize(
    "name",
    [
        "run",
        *(pytest.param(n, marks=pytest.mark.nightly) for n in ("sweep", "fit", "claims", "watch")),
    ],
)
def test_a_clock_may_go_backwards_while_a_command_runs(
    clock: Clock, killer: Killer, undisturbed: Any, tmp_path: Path, name: str
) -> None:
    start, end, _ = undisturbed(name)
    root = tmp_path / "work"
    shutil.copytree(start, root)
    with clock.going_backwards():
        assert killer(root, [*CASES[name].words]) == CASES[name].code, killer.output()
    assert clock.set_back >= 2, "it was over before the clock was set"
    ends_as(killer, root, end)
    if name == "run":
        began, finished = dates(root)
        assert finished < began  # it did see the clock go


@pytest.mark.nightly
@pytest.mark.parametrize("when", [YEAR_1970, YEAR_2099])
@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if n not in ("run", "import of a sheet")]
)
def test_a_command_ends_alike_in_any_year(
    clock: Clock, killer: Killer, undisturbed: Any, tmp_path: Path, name: str, when: str
) -> None:
    start, end, _ = undisturbed(name)
    root = tmp_path / "work"
    shutil.copytree(start, root)
    clock.at(when)
    assert killer(root, [*CASES[name].words]) == CASES[name].code, killer.output()
    ends_as(killer, root, end)


@pytest.mark.parametrize("host", ["", pytest.param("elsewhere", marks=pytest.mark.nightly)])
def test_a_dead_owner_of_the_future_holds_nothing(
    clock: Clock, killer: Killer, undisturbed: Any, tmp_path: Path, host: str
) -> None:
    """A run was killed in 2099, by the clock of then; the clock was put right after that."""
    start, end, n = undisturbed("run")
    root = tmp_path / "work"
    shutil.copytree(start, root)
    clock.at("+0d")
    assert killer(root, [*CASES["run"].words], round(0.6 * n)) == KILLED
    path = root / "a" / owner.OWNER
    left = owner.parsed(path.read_bytes())
    assert left is not None
    more = {"host": host} if host else {}
    left = replace(left, began=left.began + 1e9, since="2099-12-31 23:59:00 UTC", **more)
    path.write_text(json.dumps(asdict(left)))
    os.utime(path, (4_102_444_740, 4_102_444_740))
    assert killer(root, ["run", "--resume", "--out", "a"]) == 0, killer.output()
    ends_as(killer, root, end)


PAGE = """import sys
from assay.watch.labelers.page import LabelPage

page = LabelPage(sys.argv[1], twice=0.0)
print(page.start(), flush=True)
page.wait()
page.stop()
print("stopped", flush=True)
"""


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process where the block fails: nothing else would."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


@pytest.mark.nightly
def test_a_label_page_takes_every_label_while_the_clock_goes_backwards(
    clock: Clock, tmp_path: Path
) -> None:
    questions(tmp_path)
    served = subprocess.Popen(
        [sys.executable, "-c", PAGE, str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.env},
    )
    assert served.stdout is not None
    with served, ended(served), clock.going_backwards():
        address = served.stdout.readline().strip()
        for _ in range(4):
            shown = urllib.request.urlopen(address, timeout=20).read().decode()
            id = re.search(r'name="id" value="([^"]+)"', shown)
            assert id is not None, shown
            data = urllib.parse.urlencode({"id": id[1], "choice": "first"}).encode()
            with urllib.request.urlopen(f"{address}label", data, timeout=20) as reply:
                closing = reply.read().decode()
        assert closing
        assert served.stdout.readline().strip() == "stopped"
    assert served.returncode == 0
    assert len(current_labels(read_lines(tmp_path / "a" / "labels.jsonl"))) == 4
