"""A chat template is a program of others: it ends within its time and its memory."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

import pytest
from families import CHAT, tokenizer

from assay.data.turns import Turn
from assay.errors import InputError
from assay.models import template_limits
from assay.models.chat import NOTHING, Chat
from assay.models.template_limits import TooMuch, rendered

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLES = (
    "{% set ns = namespace(s='x' * 999999) %}{% for a in range(40) %}"
    "{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
)
TALK = [{"role": "user", "content": "the mill"}]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "SECONDS", 0.5)


def with_template(text: str) -> Any:
    made = copy.deepcopy(tokenizer())
    made.chat_template = text
    return made


def test_loops_in_loops_end_in_any_thread(quick: None) -> None:
    caught: list[BaseException] = []

    def render() -> None:
        try:
            rendered(with_template(LOOPS), TALK)
        except TooMuch as why:
            caught.append(why)

    began = time.monotonic()
    render()
    thread = threading.Thread(target=render)
    thread.start()
    thread.join()
    assert [str(c) for c in caught] == ["it takes more than 0.5 seconds"] * 2
    assert time.monotonic() - began < 20


def test_a_text_that_doubles_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_limits, "GROWTH", 64 << 20)
    with pytest.raises(
        TooMuch, match=r"it takes more than (67,108,864 bytes of memory|10 seconds)"
    ):
        rendered(with_template(DOUBLES), TALK)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ 9 ** 9 ** 9 }}", r"a power \(\*\*\)"),
        ("{% generation %}{{ 9**9**9 }}{% endgeneration %}", r"a power \(\*\*\)"),
        ("{{ 'a' * 9_999_999 }}", "the number 9_999_999, of more than 6 digits"),
    ],
)
def test_what_cannot_be_interrupted_is_refused_by_its_text(text: str, said: str) -> None:
    with pytest.raises(TooMuch, match=said):
        rendered(with_template(text), TALK)


def test_such_a_template_is_one_sentence_where_a_prompt_meets_it(quick: None) -> None:
    chat = Chat(with_template("{% if messages|length == 1 %}" + LOOPS + "{% endif %}" + CHAT))
    with pytest.raises(InputError, match=r"refuses a conversation of roles user \(it takes more t"):
        chat.text((Turn("user", "the mill"),), NOTHING)


def test_what_comes_after_a_late_rendering_is_not_interrupted(quick: None) -> None:
    for _ in range(3):
        with pytest.raises(TooMuch):
            rendered(with_template(LOOPS), TALK)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            pass
    assert "the mill" in rendered(with_template(CHAT), TALK)


def test_a_splat_is_no_power(quick: None) -> None:
    said = rendered(with_template("{{ dict(**messages[0]).content }} 123456 {{ 1234 }}"), TALK)
    assert said == "the mill 123456 1234"
