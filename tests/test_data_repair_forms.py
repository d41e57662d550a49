"""Every dialect has one form in a repaired copy, and rows of any shape read there as before."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from repaired import ASKED, GOOD, holds, rows_of, said, write

from assay import data
from assay.errors import InputError

TOOL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
DIALECTS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], set[str]]] = {
    "choices with a tie": (
        [
            {"question": "a", "response_a": "x", "response_b": "y", "winner": "b", "id": 7},
            {"question": "b", "response_a": "x", "response_b": "y", "winner": "tie", "id": 8},
        ],
        [
            {"prompt": "a", "chosen": "y", "rejected": "x", "p": 1.0, "id": 7},
            {"prompt": "b", "chosen": "x", "rejected": "y", "p": 0.5, "id": 8},
        ],
        {"column 'question' (now 'prompt')", "verdict (now chosen and rejected)"},
    ),
    "choices without a tie": (
        [{"question": "a", "response_a": "x", "response_b": "y", "winner": "a"}],
        [{"prompt": "a", "chosen": "x", "rejected": "y"}],
        {"column 'question' (now 'prompt')", "verdict (now chosen and rejected)"},
    ),
    "a probability that turns the pair": (
        [{**GOOD, "p": 0.25, "margin": 2}, {**GOOD, "prompt": "b", "p": 1, "margin": 1}],
        [
            {"prompt": "2+2?", "chosen": "5", "rejected": "4", "p": 0.75, "margin": -2.0},
            {"prompt": "b", "chosen": "4", "rejected": "5", "p": 1, "margin": 1},
        ],
        {"p below one half (chosen and rejected are exchanged)"},
    ),
    "transcripts": (
        [
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hello",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Go",
            }
        ],
        [{"prompt": ASKED, "chosen": said("Hello"), "rejected": said("Go")}],
        {"prompt inside the completions (now a column)"},
    ),
    "dialogues that go on": (
        [
            {
                "chosen": [*ASKED, *said("a"), *ASKED, *said("b")],
                "rejected": [*ASKED, *said("c")],
            }
        ],
        [{"prompt": ASKED, "chosen": [*said("a"), *ASKED, *said("b")], "rejected": said("c")}],
        {"prompt inside the completions (now a column)"},
    ),
    "joined columns and tool calls": (
        [
            {
                "system": "Be brief.",
                "prompt": "1+1?",
                "chosen": [{"role": "assistant", "content": None, "tool_calls": [TOOL]}],
                "rejected": "2",
            }
        ],
        [
            {
                "prompt": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "1+1?"},
                ],
                "chosen": [{"role": "assistant", "content": "", "tool_calls": [TOOL]}],
                "rejected": said("2"),
            }
        ],
        {"prompt of several columns (now one)"},
    ),
    "the prompt repeated": (
        [{"prompt": "ask: ", "chosen": "ask: yes", "rejected": "ask: no"}],
        [{"prompt": "ask: ", "chosen": "yes", "rejected": "no"}],
        {"prompt repeated in the completions (removed from them)"},
    ),
    "messages as text": (
        [{"prompt": str(ASKED), "chosen": str(said("a")), "rejected": json.dumps(said("b"))}],
        [{"prompt": ASKED, "chosen": said("a"), "rejected": said("b")}],
        {"messages as text (now messages)"},
    ),
    "objects of lists": (
        [
            {
                "prompt": {"role": ["user"], "content": ["Hi"]},
                "chosen": {"role": ["assistant"], "content": ["a"]},
                "rejected": {"role": ["assistant"], "content": ["b"]},
            }
        ],
        [{"prompt": ASKED, "chosen": said("a"), "rejected": said("b")}],
        {"cell in another form (now as text, messages or a number)"},
    ),
    "scores as text": (
        [{"instruction": "a", "input": "b", "output": "c", "rating": "4", "id": "x"}],
        [{"prompt": "a\nb", "response": "c", "rating": 4.0, "id": "x"}],
        {
            "column 'instruction' (now 'prompt')",
            "column 'output' (now 'response')",
            "prompt of several columns (now one)",
        },
    ),
    "ShareGPT": (
        [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]}],
        [{"messages": [*ASKED, *said("Yo")]}],
        {
            "column 'conversations' (now 'messages')",
            "cell in another form (now as text, messages or a number)",
        },
    ),
    "prompt and output": (
        [{"question": "a", "output": "b"}],
        [{"prompt": "a", "completion": "b"}],
        {"column 'question' (now 'prompt')", "column 'output' (now 'completion')"},
    ),
    "right answers keep their name": (
        [{"question": "a", "answer": "b"}],
        [{"prompt": "a", "answer": "b"}],
        {"column 'question' (now 'prompt')"},
    ),
    "bare texts": ([{"text": "once"}], [{"text": "once"}], set()),
    "prompts": (
        [{"question": "a", "solution": 4}],
        [{"prompt": "a", "solution": 4}],
        {"column 'question' (now 'prompt')"},
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_becomes_the_standard_form(name: str, tmp_path: Path) -> None:
    rows, wanted, repaired = DIALECTS[name]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert rows_of(tmp_path / "out.jsonl") == wanted
    assert set(found["repaired"]) == repaired and not found["left_out"]
    assert found["changed"] is bool(repaired)


TEXTS = st.sampled_from(
    [
        *("", " ", "a", "b ", "a b", "a c", "\n\nHuman: q\n\nAssistant: r", "Human: q"),
        *("Assistant: x", "x\n\nHuman: y\n\nAssistant: z", "é\u2028", "\ud83d", "[1]", "System: s"),
        *(str(ASKED), json.dumps(said("w")), "[{'role': 'user'", "\n\nHuman: q\n\nAssistant:"),
    ]
)
CONTENT = st.one_of(TEXTS, st.none(), st.just([{"type": "text", "text": "part"}]))
MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": CONTENT},
        optional={"tool_calls": st.just([TOOL]), "images": st.just(["i"]), "name": TEXTS},
    ),
    st.fixed_dictionaries({"from": st.sampled_from(["human", "gpt"]), "value": TEXTS}),
)
MESSAGES = st.one_of(
    st.lists(MESSAGE, max_size=4),
    MESSAGE,
    st.just({"role": ["user", "assistant"], "content": ["q", "r"]}),
)
REPLY = TEXTS.map(said)
TALK = st.one_of(REPLY, REPLY.map(lambda reply: [*ASKED, *reply]), st.just(ASKED))
CELL = st.one_of(TEXTS, TEXTS, TALK, TALK, MESSAGES, st.none())
LABEL = st.sampled_from([0, 1, 0.25, 0.5, "1", None, True, "a", "tie", 2])
SHAPES = [
    *[("prompt", "chosen", "rejected"), ("chosen", "rejected")] * 3,
    ("question", "response_a", "response_b", "winner"),
    ("instruction", "output", "rating"),
    ("prompt", "response"),
    ("messages",),
    ("text",),
    ("query",),
]
MORE = ("system", "input", "history", "tools", "p", "margin", "id", "conversations", "label")


@st.composite
def files(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = [
        *draw(st.sampled_from(SHAPES)),
        *draw(st.lists(st.sampled_from(MORE), max_size=2, unique=True)),
    ]
    row = st.fixed_dictionaries(
        {
            name: LABEL if name in ("winner", "rating", "p", "margin", "label", "id") else CELL
            for name in names
        }
    )
    return draw(st.lists(row, min_size=1, max_size=6))


@settings(max_examples=300, deadline=None)
@given(files())
def test_any_file_that_is_usable_has_a_copy_without_faults(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "in.jsonl", rows)
        try:
            found = data.scan_file(path, drop=True, tell=False)
            found.faults.stop()
        except InputError:
            return
        account = holds(path)
        assert "row that would read in another way" not in account["left_out"]
