"""The labeling page against a model: two tabs, double clicks, stale forms, restarts, strangers."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path
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
from starlette.testclient import TestClient
from stateful import PROFILES

from assay.records.checks import LABELS
from assay.records.runs import read_lines, write_lines
from assay.watch.labelers.page import LabelPage
from assay.watch.labelers.page_app import application
from assay.watch.labelers.questions import CHOICES, Question, current_labels

ASKED = [
    Question("watch people", 5, (i, 0), f"<b>{i}\u202e", "a" * (i + 1), "</div>\x1b[2J")
    for i in range(4)
]
TABS = ("one tab", "another tab")
STRANGE = {
    "another host": ({"host": "evil.example"}, 403),
    "another origin": ({"origin": "http://evil.example"}, 403),
    "a cross-site form": ({"sec-fetch-site": "cross-site"}, 403),
    "no origin at all": ({"origin": "null"}, 403),
}


class PageMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.held = tempfile.TemporaryDirectory()
        self.folder = Path(self.held.name)
        write_lines(self.folder / "questions.jsonl", [q.line() for q in ASKED])
        self.labels: dict[str, float] = {}  # the model: what counts
        self.mine: list[str] = []  # what this server wrote, in order
        self.written = 0  # lines that were acknowledged
        self.page: LabelPage | None = None
        self.open()

    def open(self) -> None:
        """A server over the folder, as after a restart."""
        if self.page is not None:
            self.page.stop()
        self.page, self.mine = LabelPage(self.folder, twice=0.5), []
        host = f"127.0.0.1:{self.page.port}"
        app = application(self.page, self.page.token, {host})
        self.browser = TestClient(app, base_url=f"http://{host}", follow_redirects=False)
        self.at, self.shown = f"/{self.page.token}", dict.fromkeys(TABS, "")
        self.ids = [p.id for p in self.page.store.pairs(0.5)]

    def teardown(self) -> None:
        assert self.page is not None
        self.page.stop()
        self.held.cleanup()

    def _next(self) -> str:
        return next((id for id in self.ids if id not in self.labels), "")

    def _answer(self, id: str, choice: str) -> None:
        reply = self.browser.post(f"{self.at}/label", data={"id": id, "choice": choice})
        assert reply.status_code == 303
        if id in self.ids and choice in CHOICES and id not in self.labels:
            self.labels[id] = CHOICES[choice]
            self.mine.append(id)
            self.written += 1

    @rule(tab=st.sampled_from(TABS))
    def look(self, tab: str) -> None:
        text = self.browser.get(f"{self.at}/").text
        found = re.findall(r'name="id" value="([0-9a-z-]+)"', text)
        assert set(found) == ({self._next()} if self._next() else set())
        assert f"{len(self.labels)} of {len(self.ids)} labeled" in text
        assert "\x1b" not in text and "\u202e" not in text
        self.shown[tab] = self._next()

    @rule(tab=st.sampled_from(TABS), choice=st.sampled_from(sorted(CHOICES)), twice=st.booleans())
    def answer(self, tab: str, choice: str, twice: bool) -> None:
        """A tab answers what it shows, which the other tab may have answered meanwhile."""
        for _ in range(1 + twice):
            self._answer(self.shown[tab], choice)

    @rule(id=st.text(max_size=9), choice=st.text(max_size=9))
    def answer_nonsense(self, id: str, choice: str) -> None:
        self._answer(id.encode("utf-8", "replace").decode(), choice)

    @rule(choice=st.sampled_from(["", "third", "FIRST", "1"]))
    def answer_another_word(self, choice: str) -> None:
        self._answer(self._next(), choice)

    @rule()
    def undo(self) -> None:
        assert self.browser.post(f"{self.at}/undo").status_code == 303
        if self.mine:
            del self.labels[self.mine.pop()]
            self.written += 1

    @precondition(lambda self: self._next())
    @rule()
    def answer_on_a_full_disk(self) -> None:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("os.fsync", side_effect=full):
            said = {"id": self._next(), "choice": "first"}
            reply = self.browser.post(f"{self.at}/label", data=said)
        assert reply.status_code == 500 and reply.text.startswith("Not written")

    @rule(who=st.sampled_from(sorted(STRANGE)), read=st.booleans())
    def come_from_elsewhere(self, who: str, read: bool) -> None:
        heads, status = STRANGE[who]
        said = {"id": self._next(), "choice": "first"}
        reply = (
            self.browser.get(f"{self.at}/", headers=heads)
            if read
            else self.browser.post(f"{self.at}/label", data=said, headers=heads)
        )
        assert reply.status_code == status and "value=" not in reply.text

    @rule(token=st.sampled_from(["", "x", "stale-token-of-an-earlier-server"]))
    def use_a_stale_address(self, token: str) -> None:
        for path in (f"/{token}/", f"/{token}/label", f"{self.at}x/label"):
            said = {"id": self._next(), "choice": "first"}
            assert self.browser.post(path, data=said).status_code == 404

    @rule()
    def send_too_much(self) -> None:
        said = {"id": self._next(), "choice": "first", "more": "x" * 20_000}
        assert self.browser.post(f"{self.at}/label", data=said).status_code == 413

    @rule(torn=st.booleans())
    def restart(self, torn: bool) -> None:
        if torn:
            with open(self.folder / "labels.jsonl", "ab") as f:
                f.write(b'{"id": "0123456789ab", "la')
        self.open()

    @invariant()
    def the_disk_holds_what_was_acknowledged(self) -> None:
        found = current_labels(LABELS.read(self.folder))
        assert {k: v["label"] for k, v in found.items()} == self.labels
        assert len(read_lines(self.folder / "labels.jsonl")) == self.written


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client that Starlette tests with
@pytest.mark.parametrize("profile", PROFILES)
def test_the_page_keeps_each_answer_once_and_answers_nobody_else(
    profile: hypothesis.settings,
) -> None:
    run_state_machine_as_test(PageMachine, settings=profile)
