"""A repaired copy holds what the file's usable rows say, has no fault, and counts every change."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import data
from assay.data.items import texts_of
from assay.data.repair import repair
from assay.data.summary import check
from assay.errors import InputError

STAY = {"contradicted row", "no shared prompt", "empty response"}  # kept, and said
HALF = "half a character (U+FFFD in its place)"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def items_of(path: Path, **how: Any) -> list[Any]:
    """What is usable in a file, without what stands in it twice."""
    found = data.scan_file(path, keep=True, drop=True, tell=False, **how)
    first = {texts_of(x): x for x in reversed(found.items)}
    return [dataclasses.replace(x, row=0) for x in found.items if first[texts_of(x)] is x]


def holds(path: Path, **how: Any) -> dict[str, Any]:
    """Repair a file and hold the copy to the law; the repair's own account."""
    out, twice = path.with_name("out.jsonl"), path.with_name("twice.jsonl")
    for old in (out, twice):
        old.unlink(missing_ok=True)
    found = repair(path, out, **how)
    again = {k: v for k, v in how.items() if k in ("limit", "against")}
    if found["kind"] == "scored":
        again["score"] = how["score"] = found["parts"]["score"]
    shown = check(out, **again)
    assert shown["ok"] and set(shown["warnings"]) <= STAY, shown["faults"]
    assert not [what for what in shown["not_read"] if not what.startswith("column ")]
    assert found["kept"] == {k: n for k, n in shown["warnings"].items() if n}
    how.pop("against", None)
    how.pop("limit", None)
    again.pop("against", None)
    assert shown["rows"] == found["written"]
    if HALF not in found["repaired"] and "limit" not in again and not shown["shared_prompts"]:
        assert items_of(out, **again) == items_of(path, **how)
    lost = sum(
        n["count"]
        for k, n in found["left_out"].items()
        if not k.startswith(("mess", "turn", "column"))
    )
    assert found["written"] + lost == found["rows"]
    second = repair(out, twice, **again)
    assert not second["changed"], second
    assert twice.read_bytes() == out.read_bytes()
    return found


def counts(found: dict[str, Any], key: str) -> dict[str, int]:
    return {kind: n["count"] for kind, n in found[key].items()}


GOOD = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
ASKED = [{"role": "user", "content": "Hi"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def test_every_kind_of_fault_is_left_out_and_counted_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [
        json.dumps(GOOD).encode(),
        json.dumps({**GOOD, "chosen": None}).encode(),
        b'{"prompt": "cut',
        b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}',
        json.dumps({**GOOD, "prompt": "x", "rejected": "4"}).encode(),
        json.dumps({**GOOD, "prompt": " "}).encode(),
        json.dumps(GOOD).encode(),
        json.dumps({**GOOD, "chosen": 7}).encode(),
        json.dumps({**GOOD, "chosen": "5", "rejected": "4"}).encode(),
        json.dumps({**GOOD, "prompt": "long " * 50}).encode(),
    ]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n")
    found = holds(path, limit=100)
    assert found["left_out"] == {
        "null cell": {"count": 1, "rows": [2]},
        "bad JSON": {"count": 1, "rows": [3]},
        "not UTF-8": {"count": 1, "rows": [4]},
        "chosen equals rejected": {"count": 1, "rows": [5]},
        "empty text": {"count": 1, "rows": [6]},
        "duplicated row": {"count": 1, "rows": [7]},
        "wrong type": {"count": 1, "rows": [8]},
        "longer than the limit": {"count": 1, "rows": [10]},
    }
    assert found["repaired"] == {"byte-order mark (removed)": {"count": 1, "rows": [1]}}
    assert found["kept"] == {"contradicted row": 1}
    assert (found["rows"], found["written"]) == (10, 2)
    assert rows_of(tmp_path / "out.jsonl")[0] == GOOD


def test_half_a_character_is_replaced_wherever_it_stands(tmp_path: Path) -> None:
    bad, as_text = "a \ud83d b", json.dumps([{"role": "assistant", "content": "x \ud83d"}])
    rows = [
        {**GOOD, "prompt": bad, "note": {bad: [bad]}},
        {"prompt": ASKED, "chosen": as_text, "rejected": said("y")},
    ]
    path = write(tmp_path / "half.jsonl", rows)
    assert check(path)["errors"] == {"half a character": 2}
    found = holds(path)
    assert found["repaired"][HALF] == {"count": 4, "rows": [1, 2]} and not found["left_out"]
    one, two = rows_of(tmp_path / "out.jsonl")
    assert one["prompt"] == "a \ufffd b" and one["note"] == {"a \ufffd b": ["a \ufffd b"]}
    assert two["chosen"] == said("x \ufffd")


def test_a_file_of_half_characters_alone_is_repaired(tmp_path: Path) -> None:
    found = holds(write(tmp_path / "half.jsonl", [{**GOOD, "prompt": "\udc00"}]))
    assert (found["written"], counts(found, "repaired")) == (1, {HALF: 1})


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
    "prompt and answer": (
        [{"question": "a", "answer": "b"}],
        [{"prompt": "a", "completion": "b"}],
        {"column 'question' (now 'prompt')", "column 'answer' (now 'completion')"},
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


def test_pairs_without_a_shared_prompt_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"chosen": "The sun", "rejected": "The moon"}, {"chosen": "Yes", "rejected": "No"}]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert rows_of(tmp_path / "out.jsonl") == rows
    assert found["kept"] == {"no shared prompt": 1} and not found["changed"]


def test_what_no_reader_reads_is_counted_and_other_columns_are_kept(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{**ASKED[0], "images": ["a.png"]}],
            "chosen": [*said("a"), *ASKED],
            "rejected": "b",
            "rating": float("nan"),
            "history": None,
        }
    ]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert counts(found, "left_out") == {
        "message key 'images'": 1,
        "turns after the assistant's last one": 1,
    }
    assert "value that JSON cannot hold (now null or text)" in found["repaired"]
    assert rows_of(tmp_path / "out.jsonl")[0]["rating"] is None


def test_a_kept_column_that_would_be_read_gets_another_name(tmp_path: Path) -> None:
    rows = [{"ask": "real", "prompt": "old", "chosen": "a", "rejected": "b", "system": "S"}]
    found = holds(write(tmp_path / "in.jsonl", rows), columns={"prompt": "ask", "system": ""})
    assert found["renamed"] == {"prompt": "unread_prompt", "system": "unread_system"}
    assert rows_of(tmp_path / "out.jsonl") == [
        {
            "prompt": "real",
            "chosen": "a",
            "rejected": "b",
            "unread_prompt": "old",
            "unread_system": "S",
        }
    ]


def test_formats_become_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt;chosen;rejected\na, b;c;d\n")
    found = holds(tmp_path / "a.csv")
    assert counts(found, "repaired") == {"CSV with semicolons (now JSON lines)": 1}
    table = pa.Table.from_pylist([{"prompt": ASKED, "chosen": said("a"), "rejected": said("b")}])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "Parquet (now JSON lines)" in holds(tmp_path / "a.parquet")["repaired"]
    repair(tmp_path / "a.csv", tmp_path / "b.jsonl.gz")
    packed = gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes())
    assert packed == (b'{"prompt": "a, b", "chosen": "c", "rejected": "d"}\n')


def test_prompts_of_other_files_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [GOOD, {**GOOD, "prompt": "b"}])
    other = write(tmp_path / "held_out.jsonl", [GOOD])
    found = holds(path, against=[other])
    assert found["left_out"] == {"prompt of another file": {"count": 1, "rows": [1]}}
    assert check(tmp_path / "out.jsonl", against=[other])["shared_prompts"] == {str(other): 0}


def test_a_score_keeps_its_own_name(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "b", "score": 1, "help": 2}]
    found = holds(write(tmp_path / "in.jsonl", rows), score="help")
    assert rows_of(tmp_path / "out.jsonl")[0]["help"] == 2 and not found["changed"]


def test_nothing_is_written_over_or_in_part(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in.jsonl", [GOOD]), tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists and is never overwritten"):
        repair(path, out)
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match="both completions are the same text in all 1 rows"):
        repair(write(tmp_path / "same.jsonl", [{**GOOD, "chosen": "5"}]), tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"nothing of it is left to write .1 × prompt of another"):
        repair(path, tmp_path / "none.jsonl", against=[path])
    half = gzip.compress(json.dumps(GOOD).encode() * 99)[:-9]
    (tmp_path / "cut.jsonl.gz").write_bytes(half)
    with pytest.raises(InputError):
        repair(tmp_path / "cut.jsonl.gz", tmp_path / "none.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cut.jsonl.gz",
        "in.jsonl",
        "out.jsonl",
        "same.jsonl",
    ]


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
CELL = st.one_of(TEXTS, MESSAGES, st.none())
LABEL = st.sampled_from([0, 1, 0.25, 0.5, "1", None, True, "a", "tie", 2])
SHAPES = [
    ("prompt", "chosen", "rejected"),
    ("chosen", "rejected"),
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


def test_a_kind_of_rows_names_its_first_rows_only(tmp_path: Path) -> None:
    rows = [GOOD, *itertools.repeat({**GOOD, "chosen": None}, 9)]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert found["left_out"]["null cell"] == {"count": 9, "rows": [2, 3, 4, 5, 6]}
