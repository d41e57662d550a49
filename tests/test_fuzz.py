"""Every reader of what others wrote keeps its promise on damaged input; so does the harness that
checks it. `make nightly` tries a million inputs, see tests/test_fuzz_nightly.py.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzz import mutations
from fuzz.harness import Broken, Target, quietly, tried, warmed
from fuzz.targets import TARGETS

from assay.errors import InputError

INPUTS = 20  # a target


@pytest.mark.filterwarnings("ignore")  # of libraries, about values that a page shows as a dash
@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_answers_damaged_input_or_refuses_it_in_one_sentence(
    name: str, tmp_path: Path
) -> None:
    target = TARGETS[name]
    with quietly():
        seeds = warmed(target, tmp_path)
        accepted = sum([tried(target, seed, tmp_path) for seed in seeds])
        words = mutations.words_of(seeds)
        for i in range(max(3, round(INPUTS * target.share))):
            rng = Random(f"{name} {i}")
            data = mutations.mutated(rng.choice(seeds), target.form, rng, words)
            try:
                tried(target, data, tmp_path)
            except Broken as why:
                pytest.fail(f"{name}, input {i} {data[:300]!r}: {why}")
    assert accepted, "no seed is valid, so damage to them tests the first check alone"


def len_of(data: bytes, folder: Path) -> int:
    return len(data)


def refusing(sentence: str) -> Callable[[bytes, Path], None]:
    def call(data: bytes, folder: Path) -> None:
        raise InputError(sentence)

    return call


def forever(data: bytes, folder: Path) -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:  # as readers catch what a template raises
            continue


def swallowing(data: bytes, folder: Path) -> None:
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()
    except OSError as why:
        raise InputError("refused") from why


def unpickling(data: bytes, folder: Path) -> None:
    pickle.loads(pickle.dumps(Path("x")))  # noqa: S301


def growing(data: bytes, folder: Path) -> None:
    bytearray(b"x" * (700 << 20))


BROKEN: dict[str, tuple[Callable[[bytes, Path], Any], str]] = {
    "another exception": (lambda data, folder: {}["gone"], "KeyError"),
    "nothing said": (refusing(" "), "an empty sentence"),
    "no end": (forever, "TooSlow"),
    "a file beside the folder": (
        lambda data, folder: (folder.parent / "beside").write_text("x"),
        "open",
    ),
    "a folder beside it": (lambda data, folder: (folder.parent / "other").mkdir(), "os.mkdir"),
    "a connection": (swallowing, "socket."),
    "a process": (lambda data, folder: subprocess.run(["true"], check=True), "subprocess.Popen"),
    "a pickle": (unpickling, "pickle.find_class"),
    "much memory": (growing, "memory"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_harness_sees_a_broken_promise(what: str, tmp_path: Path) -> None:
    call, where = BROKEN[what]
    folder = tmp_path / "own"
    folder.mkdir()
    target = Target(what, "bytes", lambda: [b"x"], call)
    tried(Target("nothing", "bytes", list, len_of), b"x", folder, every=1)
    with pytest.raises(Broken) as found:
        tried(target, b"x", folder, seconds=0.3, every=1)
    assert found.value.where.startswith(where)


def test_the_harness_lets_a_reader_write_into_its_folder_and_empties_it(tmp_path: Path) -> None:
    def call(data: bytes, folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "x").write_bytes(data)

    assert tried(Target("x", "bytes", lambda: [b"x"], call), b"x", tmp_path)
    assert not tried(Target("y", "bytes", lambda: [b"x"], refusing("no")), b"x", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", mutations.FORMS)
def test_damage_is_bounded_differs_and_depends_on_its_seed_alone(form: str) -> None:
    targets = [t for t in TARGETS.values() if t.form == form]
    seeds = [s for t in targets[:2] for s in t.seeds()]
    words = mutations.words_of(seeds)

    def made(i: int) -> bytes:
        return mutations.mutated(seeds[i % len(seeds)], form, Random(i), words)

    found = [made(i) for i in range(60)]
    assert found == [made(i) for i in range(60)]
    assert max(map(len, found)) <= mutations.MOST
    assert len(set(found)) > 40
