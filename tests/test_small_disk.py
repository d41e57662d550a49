"""Commands on a real disk that fills up, has no names left, or is locked: each says so in one
sentence, damages nothing, and comes to the same end when there is room.

`make test` tries each command at a size or two, `make nightly` at every page.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from death_cases import CASES, RUN, Case, started
from small_disk import PAGE, SmallDisk, space
from test_deaths import state

from assay.engine.owner import OWNER

FULL = "No space left on device"
LOCKED = "Read-only file system"
COMMANDS = {
    "run": Case((*RUN, "--policies"), again=started),
    **{name: CASES[name] for name in ("fit", "score", "check", "sweep")},
}
FEW = [("run", 9), ("fit", 3), ("score", 0), ("check", 0)]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    words = space()
    if words is None:
        pytest.skip("this system lets no test mount a disk of its own (unshare, mount)")
    logs, place = tmp_path_factory.mktemp("logs"), tmp_path_factory.mktemp("disk")
    found = SmallDisk(logs, place, words)
    yield found
    found.close()


@pytest.fixture(scope="module")
def undisturbed(
    disk: SmallDisk, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Path, dict[str, Any], int]]:
    """Of a command: what lies there before, how it ends on a wide disk, and the pages it takes."""
    known: dict[str, tuple[Path, dict[str, Any], int]] = {}

    def of(name: str) -> tuple[Path, dict[str, Any], int]:
        if name not in known:
            start = tmp_path_factory.mktemp("start")
            COMMANDS[name].files(start)
            disk.holds(start)
            before = disk.used()
            code, said = disk(*COMMANDS[name].words)
            assert code == 0, said
            known[name] = start, state(disk.root), (disk.used() - before) // PAGE
        return known[name]

    return of


def one_sentence(code: int, said: str, why: str) -> None:
    """The command has failed, and says why and what to do, once."""
    assert code in (1, 2), said
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if why in line or "need up to" in line]
    assert lines, said
    told = [line for line in lines if line.startswith("assay: ")]
    assert told and all("make room" in line or "can be written to" in line for line in told), said
    assert ".new:" not in said and ".part-" not in said, said  # names that nobody gave


def is_stopped(disk: SmallDisk, name: str, before: tuple[Path, dict[str, Any], int]) -> bool:
    """Give a command on a disk that has been made small, and again on a wide one.

    Returns:
        Whether the small disk was too small.
    """
    start, end, _ = before
    case = COMMANDS[name]
    code, said = disk(*case.words)
    for path in (p for p in start.rglob("*") if p.is_file()):
        assert (disk.root / path.relative_to(start)).read_bytes() == path.read_bytes(), said
    disk.widen()
    if code == 0:
        assert state(disk.root) == end, said
        return False
    one_sentence(code, said, FULL)
    code, said = disk(*case.again(disk.root, case.words))
    assert code == 0, said
    assert state(disk.root) == end, said
    return True


def fills_up(disk: SmallDisk, name: str, pages: int, before: Any) -> bool:
    disk.holds(before[0])
    disk.leaves(pages)
    return is_stopped(disk, name, before)


@pytest.mark.parametrize(("name", "pages"), FEW)
def test_a_full_disk_is_one_sentence_and_the_command_may_be_given_again(
    disk: SmallDisk, undisturbed: Any, name: str, pages: int
) -> None:
    assert fills_up(disk, name, pages, undisturbed(name))


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_may_fill_up_at_any_page(disk: SmallDisk, undisturbed: Any, name: str) -> None:
    before, pages = undisturbed(name), 0
    while fills_up(disk, name, pages, before):
        pages += 1
        assert pages <= before[2] + 12, "it needs far more room than what it leaves"
    assert pages


@pytest.mark.nightly
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_may_have_no_names_left(disk: SmallDisk, undisturbed: Any, name: str) -> None:
    before, names = undisturbed(name), 0
    stopped = True
    while stopped:
        disk.holds(before[0])
        disk.names(names)
        stopped = is_stopped(disk, name, before)
        names += 1
        assert names <= len(before[1]) + 12
    assert names > 1


@pytest.mark.parametrize(
    "name", ["check", *(pytest.param(n, marks=pytest.mark.nightly) for n in COMMANDS)]
)
def test_a_locked_disk_is_one_sentence_and_the_command_may_be_given_again(
    disk: SmallDisk, undisturbed: Any, name: str
) -> None:
    start, end, _ = undisturbed(name)
    disk.holds(start)
    before = state(disk.root)
    disk.lock()
    one_sentence(*disk(*COMMANDS[name].words), LOCKED)
    disk.widen()
    assert state(disk.root) == before
    code, said = disk(*COMMANDS[name].words)
    assert code == 0 and state(disk.root) == end, said


def test_files_on_a_locked_disk_are_read(disk: SmallDisk, undisturbed: Any, tmp_path: Path) -> None:
    disk.holds(undisturbed("score")[0])
    disk.lock()
    out = tmp_path / "scored.jsonl"
    code, said = disk("score", "judge.py:worth", "texts.jsonl", "--out", str(out))
    assert code == 0 and len(out.read_text().splitlines()) == 6, said
    code, said = disk("check", "odd.csv", "--fix", str(tmp_path / "mended.jsonl"))
    assert code == 0 and (tmp_path / "mended.jsonl").exists(), said
    code, said = disk("check", "pairs.jsonl")
    assert code == 0, said


@pytest.fixture(scope="module")
def finished(disk: SmallDisk, undisturbed: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of work with a run that is done."""
    start, _, _ = undisturbed("run")
    disk.holds(start)
    assert disk(*COMMANDS["run"].words)[0] == 0
    kept = tmp_path_factory.mktemp("kept") / "work"
    shutil.copytree(disk.root, kept)
    return kept


@pytest.mark.full
def test_a_run_on_a_locked_disk_is_read(disk: SmallDisk, finished: Path, tmp_path: Path) -> None:
    disk.holds(finished)
    disk.lock()
    before = state(disk.root)
    page, model = tmp_path / "page.html", tmp_path / "model"
    for words in (
        ("verify", "a"),
        ("report", "a", "-o", str(page)),
        ("compare", "a"),
        ("run", "--resume", "--out", "a"),  # it is done
    ):
        code, said = disk(*words)
        assert code == 0 and "Traceback" not in said, (words, said)
    assert page.read_text().startswith("<!doctype html>") or "<html" in page.read_text()
    one_sentence(*disk("report", "a"), LOCKED)
    one_sentence(*disk(*RUN[:-1], "b"), LOCKED)
    code, said = disk("export", "a", "--out", str(model))
    assert code == 2 and "only runs in world hub and world grammar" in said
    assert state(disk.root) == before


@pytest.mark.full
def test_a_run_that_was_stopped_is_not_gone_on_with_on_a_locked_disk(
    disk: SmallDisk, undisturbed: Any
) -> None:
    start, end, _ = undisturbed("run")
    disk.holds(start)
    disk.leaves(7)
    assert disk(*COMMANDS["run"].words)[0] == 1
    disk.lock()
    before = state(disk.root)
    again = ("run", "--resume", "--out", "a")
    one_sentence(*disk(*again), LOCKED)
    assert disk("verify", "a")[0] == 0
    assert state(disk.root) == before
    disk.widen()
    assert not (disk.root / "a" / OWNER).exists()
    code, said = disk(*again)
    assert code == 0 and state(disk.root) == end, said


@pytest.mark.nightly
def test_a_model_is_exported_from_a_locked_disk_and_not_to_one(
    disk: SmallDisk, tmp_path: Path
) -> None:
    case, start = CASES["export"], tmp_path / "start"
    start.mkdir()
    case.files(start)
    disk.holds(start)
    assert disk(*case.before)[0] == 0
    disk.lock()
    before = state(disk.root)
    one_sentence(*disk(*case.words), LOCKED)
    code, said = disk(*case.words[:-1], str(tmp_path / "model"))
    assert code == 0 and "checked: loaded by plain transformers" in said, said
    assert state(disk.root) == before
    disk.widen()
    disk.leaves(20)
    one_sentence(*disk(*case.words), FULL)
    disk.widen()
    assert state(disk.root) == before
    code, said = disk(*case.words)
    assert code == 0, said
    assert state(disk.root / "model") == state(tmp_path / "model")
