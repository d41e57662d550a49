"""Rows of every shape that a data file may have, with a different word in every string."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

ROLES = {"user": ("user", "human", "User"), "assistant": ("assistant", "gpt", "model")}


class Words:
    """Gives a different word for every string of a row; blanks at the ends are drawn too."""

    def __init__(self, draw: Callable[[Any], Any]):
        self.n, self.draw = 0, draw

    def __call__(self) -> str:
        self.n += 1
        return f"w{self.n:03d}w"

    def text(self) -> str:
        return self.draw(
            st.sampled_from(["{}", " {}", "{}\n", "Say {} so.", "[{}]", '{{"{}"'])
        ).format(self())


def _message(words: Words, who: str, form: str) -> dict[str, Any]:
    """One message with a content of any form, and keys that are read and that are not."""
    draw = words.draw
    role = draw(st.sampled_from(ROLES.get(who, (who,))))
    content: Any = words.text()
    kind = draw(st.sampled_from(["text"] * 4 + ["parts", "image", "null"]))
    message = (
        {"role": role, "content": content} if form == "role" else {"from": role, "value": content}
    )
    key = "content" if form == "role" else "value"
    if kind in ("parts", "image"):
        message[key] = [{"type": "text", "text": content}]
        if kind == "image":
            message[key].append({"type": "image", "url": words()})
    more = {
        "name": lambda: words(),
        "reasoning_content": lambda: words(),
        "reasoning": lambda: words(),
        "tool_calls": lambda: [
            {"id": words(), "function": {"name": words(), "arguments": json.dumps({"x": words()})}}
        ],
        "function_call": lambda: {"name": words(), "arguments": {"x": words()}},
        "images": lambda: [words()],
        "metadata": lambda: {"a": {"b": words()}},
        "empty": lambda: None,
    }
    for name in draw(st.lists(st.sampled_from(sorted(more)), max_size=2, unique=True)):
        message[name] = more[name]()
    if kind == "null" and any(
        k in message for k in ("tool_calls", "reasoning", "reasoning_content")
    ):
        message[key] = None
    return message


def _talk(words: Words, whos: list[str]) -> list[dict[str, Any]]:
    form = words.draw(st.sampled_from(["role", "from"]))
    return [_message(words, who, form) for who in whos]


def _asked(words: Words, *, last: bool = True) -> list[dict[str, Any]]:
    """The turns of a prompt."""
    draw = words.draw
    system = ["system"] * draw(st.booleans())
    rounds = ["user", "assistant"] * draw(st.integers(0, 2))
    return _talk(words, [*system, *rounds, *(["user"] * last)])


def _reply(words: Words) -> list[dict[str, Any]]:
    more = [["assistant"], ["assistant", "tool", "assistant"], ["assistant", "user", "assistant"]]
    after = words.draw(st.sampled_from([[], [], ["user"], ["tool"]]))
    return _talk(words, [*words.draw(st.sampled_from(more)), *after])


def _written(words: Words, talk: list[dict[str, Any]]) -> Any:
    """A dialogue as a list, as JSON or Python text, or as an object of lists."""
    how = words.draw(st.sampled_from(["list"] * 4 + ["json", "repr", "lists"]))
    if how == "lists":
        keys = dict.fromkeys(k for m in talk for k in m)
        return {k: [m.get(k) for m in talk] for k in keys}
    return json.dumps(talk) if how == "json" else repr(talk) if how == "repr" else talk


def _transcript(words: Words, whos: list[str]) -> str:
    said = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"\n\n{said[who]}: {words()}" for who in whos)


@st.composite
def rows(draw: Callable[[Any], Any]) -> tuple[str, dict[str, Any]]:
    """(kind, row) of any shape."""
    words = Words(draw)
    kind = draw(
        st.sampled_from(["pairs", "choices", "scored", "demonstrations", "messages", "prompts"])
    )
    row: dict[str, Any] = {}
    ask = draw(
        st.sampled_from(["text", "talk", "transcript", "inside", "repeated", "last", "copy"])
    )
    alpaca = draw(st.booleans())
    column = "instruction" if alpaca else draw(st.sampled_from(["prompt", "question", "messages"]))
    begin = _asked(words)
    if kind == "messages":
        row["messages"] = _written(words, [*begin, *_reply(words)])
    elif ask == "transcript":
        row["prompt"] = _transcript(words, ["user", "assistant", "user"]) + "\n\nAssistant:"
    elif ask == "text" or kind == "prompts":
        row["prompt" if column == "messages" else column] = words.text()
    elif ask == "talk":
        row[column] = _written(words, begin)
    elif ask == "repeated":
        row[column] = begin
    elif ask == "last":
        held = begin[-1].get("content", begin[-1].get("value"))
        row["prompt"] = held[0]["text"] if isinstance(held, list) else held
    inside = ask in ("inside", "repeated", "last", "copy") and kind != "messages"

    def completion() -> Any:
        how = draw(st.sampled_from(["text", "talk", "one"]))
        if inside:
            return _written(words, [*begin, *_reply(words)])
        if ask == "transcript":
            return (
                f" {words()}{_transcript(words, ['user', 'assistant'] * draw(st.integers(0, 1)))}"
            )
        reply = _reply(words)
        return (
            words.text() if how == "text" else reply[0] if how == "one" else _written(words, reply)
        )

    if kind in ("pairs", "choices"):
        names = ("chosen", "rejected") if kind == "pairs" else ("response_a", "response_b")
        row |= {name: completion() for name in names}
        if kind == "choices":
            row["winner"] = draw(st.sampled_from(["a", "b", "tie"]))
        if ask == "copy" and draw(st.booleans()):
            row["messages"] = row[names[draw(st.integers(0, 1))]]
        elif ask == "copy" and draw(st.booleans()):
            row["messages"] = [*begin, *_talk(words, ["assistant"])]
    elif kind in ("scored", "demonstrations"):
        whole = [begin, begin[-1:]] if inside else [words.text()]
        row["prompt"] = row.get("prompt") or row.pop(column, None) or draw(st.sampled_from(whole))
        row["response"] = completion()
        if kind == "scored":
            row["score"] = 1.5
    for name in draw(st.lists(st.sampled_from(sorted(EXTRA)), max_size=3, unique=True)):
        if name not in row:
            row[name] = EXTRA[name](words)
    order = draw(st.permutations(list(row)))
    return kind, {name: row[name] for name in order}


EXTRA: dict[str, Callable[[Words], Any]] = {
    "system": lambda w: w.text(),
    "history": lambda w: w.draw(
        st.sampled_from([[[w(), w()]], json.dumps([[w(), w()]]), _asked(w, last=False), []])
    ),
    "input": lambda w: w.text(),
    "context": lambda w: w.text(),
    "tools": lambda w: w.draw(st.sampled_from([json.dumps([{"name": w()}]), [{"name": w()}]])),
    "conversations": lambda w: _asked(w),
    "source": lambda w: w(),
    "metadata": lambda w: {"a": [w(), {"b": w()}]},
    "generations": lambda w: [w(), w()],
    "id": lambda w: 3,
}
