"""The ledger of labels against a model: what was acknowledged is never lost and never bought again,
whatever kills, tears or fills the disk in between.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

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

from assay.errors import NotWritten, Waiting
from assay.records.checks import LABELS, QUESTIONS
from assay.records.runs import read_lines
from assay.watch.labelers.questions import Label, Question, current_labels
from assay.watch.ledger import Ledger

ASKED = [Question("watch mine", i // 3, (i % 3, 0), f"p {i}", "a\u2028", "b") for i in range(9)]
VALUES = (0.0, 1.0, 0.5, None)
some = st.lists(st.sampled_from(range(len(ASKED))), min_size=1, max_size=5, unique=True)


class Killed(BaseException):
    """The process ends while it waits for the labeler."""


class Mine:
    """A labeler that answers in its own order, and whose caller may die on the way."""

    name, waits = "mine", False

    def __init__(self, values: dict[str, float | None], dies_after: int | None):
        self.values, self.dies_after = values, dies_after
        self.yielded: list[str] = []  # what was paid for
        self.written: list[str] = []  # what the ledger has asked to go on after

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        for i, q in enumerate(sorted(questions, key=lambda q: q.id)):
            if self.dies_after == i:
                raise Killed
            self.yielded.append(q.id)
            yield Label(q, self.values[q.id])
            if self.values[q.id] is not None:
                self.written.append(q.id)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.held = tempfile.TemporaryDirectory()
        self.folder = Path(self.held.name)
        self.ledger = Ledger(self.folder, None)
        self.sure: dict[str, float | None] = {}  # acknowledged labels
        self.paid = dict.fromkeys((q.id for q in ASKED), 0)
        self.excused = dict.fromkeys((q.id for q in ASKED), 0)  # lost by a kill before it was safe

    def teardown(self) -> None:
        self.held.cleanup()

    def _asked(self, which: list[int], values: list[float | None], dies: int | None) -> Any:
        questions = [ASKED[i] for i in which]
        labeler = Mine({q.id: v for q, v in zip(questions, values * 5)}, dies)
        rows: list[dict[str, Any] | None] | None = None
        try:
            rows = self.ledger.compare(questions, labeler)
            self.sure |= {q.id: row["label"] for q, row in zip(questions, rows) if row}
            assert all(rows), "a label of a finished call is missing"
        except (Killed, Waiting, NotWritten) as why:
            self.sure |= {id: labeler.values[id] for id in labeler.written}
            for id in labeler.yielded:
                self.excused[id] += id not in self.sure
            return why
        finally:
            for id in labeler.yielded:
                self.paid[id] += 1
        return rows

    @rule(which=some, values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=4))
    def ask(self, which: list[int], values: list[float | None]) -> None:
        known = dict(self.sure)
        self._asked(which, values, None)
        assert {k: self.sure[k] for k in known} == known

    @rule(
        which=some, dies=st.integers(0, 4), values=st.lists(st.sampled_from((0.0, 1.0)), min_size=1)
    )
    def ask_and_die(self, which: list[int], dies: int, values: list[float | None]) -> None:
        if isinstance(self._asked(which, values, dies), Killed):
            self.ledger = Ledger(self.folder, None)

    @rule(which=some, after=st.integers(0, 3))
    def ask_on_a_full_disk(self, which: list[int], after: int) -> None:
        real, calls = os.fsync, iter(range(100))

        def full(handle: int) -> None:
            if next(calls) >= after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            real(handle)

        with mock.patch("os.fsync", full):
            found = self._asked(which, [1.0], None)
        assert isinstance(found, (NotWritten, list))

    @precondition(lambda self: (self.folder / "labels.jsonl").exists())
    @rule(cut=st.integers(1, 40))
    def tear(self, cut: int) -> None:
        """A kill in the middle of a write leaves the beginning of a line; then a new process."""
        torn = b'{"by": "mine", "id": "0123456789ab", "label": 1.0, "place": [0]'[:cut]
        with open(self.folder / "labels.jsonl", "ab") as f:
            f.write(torn)
        self.ledger = Ledger(self.folder, None)

    @rule()
    def reopen(self) -> None:
        self.ledger = Ledger(self.folder, None)

    @invariant()
    def the_disk_holds_what_was_acknowledged(self) -> None:
        found = current_labels(LABELS.read(self.folder))
        assert {k: found[k]["label"] for k in self.sure} == self.sure

    @invariant()
    def nothing_is_bought_twice(self) -> None:
        lines = [r["id"] for r in read_lines(self.folder / "labels.jsonl")]
        asked = [r["id"] for r in QUESTIONS.read(self.folder)]
        assert len(lines) == len(set(lines)) and len(asked) == len(set(asked))
        assert set(lines) <= set(asked)
        for id, times in self.paid.items():
            assert times <= 1 + self.excused[id]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_label_is_kept_and_bought_once_whatever_happens(profile: hypothesis.settings) -> None:
    run_state_machine_as_test(LedgerMachine, settings=profile)
