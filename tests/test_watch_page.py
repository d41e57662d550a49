"""The page where a person judges pairs, over plain HTTP; tests/browser drives it in Chromium."""

from __future__ import annotations

import http.client
import re
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.errors import InputError
from assay.records.runs import read_lines, write_lines
from assay.watch.labelers.page import LabelPage
from assay.watch.labelers.questions import Question, current_labels

HOSTILE = [
    "<script>document.title='owned'</script>",
    "=cmd|' /C calc'!A0",
    "\x1b[2J\x1b[31mred\u202e",
    '"><img src=x onerror=alert(1)>',
    "</div></main><form action='http://evil'>",
    "a" * 500,
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    asked = [
        Question("watch people", 5, (i, 0), f"prompt {i} & <b>bold</b>", text, f"plain {i}")
        for i, text in enumerate(HOSTILE)
    ]
    other = Question("watch gold", 5, (9, 0), "not for people", "a", "b")
    write_lines(tmp_path / "questions.jsonl", [q.line() for q in [*asked, other]])
    return tmp_path


@pytest.fixture
def page(run: Path) -> Iterator[LabelPage]:
    served = LabelPage(run, twice=0.0)
    served.start()
    yield served
    served.stop()


def fetch(
    page: LabelPage, method: str = "GET", path: str = "", body: str = "", **heads: str
) -> tuple[int, str, dict[str, str]]:
    link = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    where = path if path.startswith("/") else f"/{page.token}/{path}"
    link.request(method, where, body or None, {k.replace("_", "-"): v for k, v in heads.items()})
    reply = link.getresponse()
    text = reply.read().decode()
    link.close()
    return reply.status, text, dict(reply.getheaders())


def shown(page: LabelPage) -> str:
    return re.findall(r'name="id" value="([0-9a-z-]+)"', fetch(page)[1])[0]


def judge(page: LabelPage, id: str, said: str, **heads: str) -> int:
    return fetch(
        page, "POST", "label", urllib.parse.urlencode({"id": id, "choice": said}), **heads
    )[0]


def test_every_label_is_on_disk_before_the_next_pair_is_shown(page: LabelPage, run: Path) -> None:
    for i in range(6):
        assert f"{i} of 6 labeled" in fetch(page)[1]
        id = shown(page)
        assert judge(page, id, "first") == 303
        rows = read_lines(run / "labels.jsonl")
        assert (
            len(rows) == i + 1
            and rows[-1]["id"] == id
            and rows[-1]["label"] == 1.0
            and rows[-1]["by"] == "page"
        )
    assert "All labeled" in fetch(page)[1] and page.done.is_set()


def test_the_prompt_s_other_columns_are_shown_harmless(tmp_path: Path) -> None:
    columns = {"row": 7, "answer": "<b>42</b>", "empty": None}
    one = Question("watch people", 5, (0, 0), "p", "a", "b", columns)
    write_lines(tmp_path / "questions.jsonl", [one.line()])
    served = LabelPage(tmp_path, twice=0.0)
    served.start()
    try:
        text = fetch(served)[1]
    finally:
        served.stop()
    shown_columns = text.partition('<details id="columns">')[2].partition("</details>")[0]
    assert "&lt;b&gt;42&lt;/b&gt;" in shown_columns and "<b>" not in shown_columns
    assert shown_columns.count("<dt>") == 1, "row is for functions, and empty cells say nothing"


def test_the_server_ends_after_the_closing_page_was_fetched(page: LabelPage) -> None:
    for _ in range(6):
        judge(page, shown(page), "tie")
    assert not page.closing.is_set(), "else the browser would find nobody there"
    waiter = threading.Thread(target=page.wait)
    waiter.start()
    waiter.join(0.2)
    assert waiter.is_alive()
    closing = fetch(page)[1]
    assert "All labeled" in closing and 'id="undo"' not in closing
    waiter.join(10)
    assert not waiter.is_alive()
    page.stop()
    page.stop()
    with pytest.raises(OSError, match="refused"):
        fetch(page)


def test_a_key_pressed_twice_is_one_label(page: LabelPage, run: Path) -> None:
    id = shown(page)
    judge(page, id, "first")
    judge(page, id, "second")
    assert [r["label"] for r in read_lines(run / "labels.jsonl")] == [1.0]


def test_undo_takes_the_last_label_back_and_shows_it_again(page: LabelPage, run: Path) -> None:
    id = shown(page)
    judge(page, id, "first")
    assert fetch(page, "POST", "undo")[0] == 303 and shown(page) == id
    judge(page, id, "tie")
    rows = read_lines(run / "labels.jsonl")
    assert len(rows) == 3 and rows[1]["undone"] and current_labels(rows)[id]["label"] == 0.5, (
        "nothing is ever rewritten"
    )
    fetch(page, "POST", "undo")
    fetch(page, "POST", "undo")
    assert current_labels(read_lines(run / "labels.jsonl")) == {}


def test_a_second_sitting_goes_on(page: LabelPage, run: Path) -> None:
    judge(page, shown(page), "second")
    page.stop()
    again = LabelPage(run, twice=0.0)
    again.start()
    assert "1 of 6 labeled" in fetch(again)[1] and fetch(again, path=f"/{page.token}/")[0] == 404
    again.stop()
    page.server = again.server  # the fixture stops it once more, harmlessly
    page.stop = lambda: None  # type: ignore[method-assign]


def test_some_are_asked_twice_the_other_way_round(run: Path) -> None:
    page = LabelPage(run, twice=1.0)
    page.start()
    for _ in range(12):
        text = fetch(page)[1]
        judge(page, shown(page), "first" if 'id="first">plain' in text else "second")
    page.stop()
    found = page.store.agreement()
    assert found["pairs"] == 6 and found["agree"] == 1.0


@pytest.mark.parametrize(
    ("heads", "code"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({}, 303),
    ],
)
def test_other_hosts_and_origins_are_refused(
    page: LabelPage, run: Path, heads: dict[str, str], code: int
) -> None:
    assert judge(page, shown(page), "first", **heads) == code
    assert (run / "labels.jsonl").exists() == (code == 303)


def test_nothing_without_the_token_and_nothing_too_long(page: LabelPage) -> None:
    for path in (
        "/",
        "/x/",
        f"/{page.token[:-1]}/",
        "/page.js",
        f"/{page.token}/../questions.jsonl",
    ):
        assert fetch(page, path=path)[0] == 404
    assert (
        fetch(page, path="../questions.jsonl")[0] == 404
        and fetch(page, "POST", "else", "a=b")[0] == 404
    )
    assert fetch(page, "POST", "label", "x" * 20_000)[0] == 413
    assert page.socket.getsockname()[0] == "127.0.0.1"


def test_answers_are_escaped_and_no_other_script_runs(page: LabelPage) -> None:
    seen = ""
    for _ in range(6):
        code, text, heads = fetch(page)
        seen += text
        assert (
            code == 200
            and "script-src 'self'" in heads["content-security-policy"]
            and "unsafe" not in str(heads)
        )
        assert re.findall(r"<script[^>]*>", text) == [
            '<script src="page.js" defer>'
        ] and not re.search(r"<[^>]* on\w+=", text)
        judge(page, shown(page), "tie")
    assert (
        "&lt;script&gt;" in seen
        and "\x1b" not in seen
        and "⟨U+001B⟩" in seen
        and "⟨U+202E⟩" in seen
    )
    assert "not for people" not in seen and "<img" not in seen


def test_a_label_that_cannot_be_written_is_said_and_asked_again(
    page: LabelPage, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = shown(page)
    (run / "labels.jsonl").mkdir()
    assert judge(page, before, "first") == 500
    assert shown(page) == before and "Traceback" not in capfd.readouterr().err


def test_a_run_without_questions_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no questions for people"):
        LabelPage(tmp_path)
