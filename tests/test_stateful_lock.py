"""The lock of a folder against a model: one holder at a time among objects, threads and processes,
and a kill lets go.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stateful import PROFILES

from assay.engine.folder_lock import Hold, hold, is_held, only_writer

CHILDREN = ("child 1", "child 2")
HERE = ("main", "thread")
MANY = 8  # threads that race for one folder


def serve(folder: Path, link: Connection) -> None:
    """Another process that holds and lets go as it is told."""
    mine: Hold | None = None
    while True:
        said = link.recv()
        if said == "acquire":
            mine = hold(folder)
            link.send(mine is not None)
        elif said == "release" and mine is not None:
            mine.release()
            link.send(True)
        elif said == "look":
            link.send(is_held(folder))


class LockMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.held = tempfile.TemporaryDirectory()
        self.folder = Path(self.held.name)
        self.holder: str | None = None
        self.mine: Hold | None = None
        self.alive: dict[str, tuple[Any, Connection]] = {}
        for name in CHILDREN:
            self._start(name)

    def _start(self, name: str) -> None:
        ours, theirs = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")  # a new interpreter would take seconds
        child = fork.Process(target=serve, args=(self.folder, theirs), daemon=True)
        child.start()
        self.alive[name] = (child, ours)

    def teardown(self) -> None:
        if self.mine is not None:
            self.mine.release()
        for child, link in self.alive.values():
            child.kill()
            child.join()
            link.close()
        self.held.cleanup()

    def _told(self, name: str, what: str) -> Any:
        _, link = self.alive[name]
        link.send(what)
        assert link.poll(60), f"{name} does not answer"
        return link.recv()

    @rule(who=st.sampled_from((*CHILDREN, *HERE)))
    def acquire(self, who: str) -> None:
        if who in CHILDREN:
            if who == self.holder or who not in self.alive:
                return
            got = self._told(who, "acquire")
        else:
            found: list[Hold | None] = []
            if who == "thread":
                thread = threading.Thread(target=lambda: found.append(hold(self.folder)))
                thread.start()
                thread.join()
            else:
                found.append(hold(self.folder))
            got = found[0] is not None
            self.mine = found[0] or self.mine
        assert got == (self.holder is None)
        self.holder = who if got else self.holder

    @precondition(lambda self: self.holder is not None)
    @rule()
    def release(self) -> None:
        if self.holder in CHILDREN:
            assert self._told(self.holder, "release")
        else:
            assert self.mine is not None
            self.mine.release()
            self.mine.release()  # a second call does nothing
            self.mine = None
        self.holder = None

    @rule(who=st.sampled_from(CHILDREN))
    def kill(self, who: str) -> None:
        if who in self.alive:
            child, link = self.alive.pop(who)
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            link.close()
            self.holder = None if self.holder == who else self.holder

    @precondition(lambda self: self.mine is None and len(self.alive) < len(CHILDREN))
    @rule()
    def start(self) -> None:
        for name in set(CHILDREN) - set(self.alive):
            self._start(name)

    @rule()
    def race(self) -> None:
        """Many threads ask at once: one gets it if nobody has it, and none otherwise."""
        ready, found = threading.Barrier(MANY), list[Hold]()

        def ask() -> None:
            ready.wait()
            if (got := hold(self.folder)) is not None:
                found.append(got)

        threads = [threading.Thread(target=ask) for _ in range(MANY)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for got in found:
            got.release()
        assert len(found) == (self.holder is None)

    @rule()
    def write_alone(self) -> None:
        with only_writer(self.folder) as mine:
            assert mine == (self.holder is None)
            with only_writer(self.folder) as again:
                assert not again

    @invariant()
    def all_see_whether_it_is_held(self) -> None:
        seen = [is_held(self.folder), *(self._told(name, "look") for name in self.alive)]
        assert seen == [self.holder is not None] * len(seen)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12: of threads
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork and locks a file instead")
@pytest.mark.parametrize("profile", PROFILES)
def test_a_folder_has_one_holder_and_a_kill_lets_go(profile: hypothesis.settings) -> None:
    run_state_machine_as_test(LockMachine, settings=profile)
