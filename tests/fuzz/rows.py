"""Valid rows of every kind of data file, and the files that hold them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

Row = dict[str, Any]
_TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
_ASK, _SAID = _TALK[:1], _TALK[1:]
_HH = "\n\nHuman: Hi\n\nAssistant: Hello"
_CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}

KINDS: dict[str, list[Row]] = {
    "pairs": [{"prompt": f"{i}+1", "chosen": f"it is {i + 1}", "rejected": "no"} for i in range(3)],
    "pairs with margins": [
        {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 0.5, "p": 0.9},
        {"prompt": "d", "chosen": "e", "rejected": "f", "margin": 1, "p": 0.2},
    ],
    "pairs of messages": [
        {"chosen": _TALK, "rejected": [*_ASK, {"role": "assistant", "content": "No"}]},
        {"chosen": _TALK, "rejected": [*_ASK, {"role": "assistant", "content": "Go"}]},
    ],
    "pairs with a prompt of messages": [{"prompt": _ASK, "chosen": _SAID, "rejected": "Go"}] * 2,
    "transcripts": [{"chosen": _HH, "rejected": _HH + " you"}] * 2,
    "rated pairs": [
        {"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": 2, "rejected_score": 1}
    ],
    "choices": [
        {"prompt": "a", "response_a": "b", "response_b": "c", "winner": "model_a", "id": 7},
        {"prompt": "d", "response_a": "e", "response_b": "f", "winner": "tie", "id": 8},
    ],
    "choices by number": [
        {"prompt": "a", "response_0": "b", "response_1": "c", "better_response_id": 0},
        {"prompt": "d", "response_0": "e", "response_1": "f", "better_response_id": 1},
    ],
    "scored": [
        {"prompt": "a", "response": "b", "score": 0.5},
        {"prompt": "a", "response": "c", "score": "1"},
        {"prompt": "d", "completion": "e", "score": None},
    ],
    "labelled": [{"prompt": "a", "response": "b", "label": True}] * 2,
    "demonstrations": [{"messages": _TALK}, {"messages": [{"role": "system", "content": ""}]}],
    "tools": [
        {
            "messages": [
                *_ASK,
                {"role": "assistant", "content": None, "tool_calls": [_CALL], "thinking": "hm"},
                {"role": "tool", "content": '{"sum": 2}', "name": "add", "tool_call_id": "1"},
            ],
            "tools": [{"type": "function", "function": {"name": "add"}}],
        }
    ],
    "share": [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}],
    "rounds": [{"messages": [{"input": "a", "output": "b"}, {"input": "c", "output": None}]}],
    "columns of messages": [{"messages": {"role": ["user", "assistant"], "content": ["a", "b"]}}],
    "instructions": [{"instruction": "add", "input": "1+1", "output": "2"}] * 2,
    "texts": [{"text": "once upon"}, {"text": "a time"}],
    "prompts": [{"prompt": "a", "answer": "2"}, {"prompt": "b", "answer": "3"}],
    "prompts of messages": [{"prompt": [{"role": "system", "content": "s"}, *_ASK]}],
    "nested": [{"prompt": "a", "completions": [{"text": "b", "score": 1}, {"text": "c"}]}],
}


def lines(rows: list[Row]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def json_lines() -> list[bytes]:
    """A file of each kind."""
    return [lines(rows) for rows in KINDS.values()]


def arrays() -> list[bytes]:
    """Each kind as one JSON array."""
    return [
        json.dumps(rows, indent=i % 2 or None).encode() for i, rows in enumerate(KINDS.values())
    ]


def tables() -> list[bytes]:
    """Each kind as CSV, with what is no text written as JSON."""
    out = []
    for rows in KINDS.values():
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, list(dict.fromkeys(k for r in rows for k in r)))
        table.writeheader()
        table.writerows(
            {k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in rows
        )
        out.append(text.getvalue().encode())
    return out
