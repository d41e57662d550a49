"""Messages of a data file as turns, in the forms in which people and libraries write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.faults import Faults
from assay.data.turns import EMPTY, REASONING, ROLES, Turn, Turns, as_more, full

# What else of a message chat templates write.
KEPT = ("name", "tool_call_id", "tool_calls", "tools", *REASONING)
ROLE, CONTENT = ("role", "from"), ("content", "value")
CALLS = "function_call"  # an older form of tool calls: a role, or a key of a message


class Unreadable(Exception):
    """A cell that is no list of messages; its text says what is wrong with it."""


def turns_of(value: Any, faults: Faults | None = None) -> Turns:
    """Messages as turns.

    Args:
        value: A list of messages ({role, content} or {from, value}), one message, an object of
            lists ({role: […], content: […]}, as Parquet and `datasets` hold them), or rounds
            ({input, output}). A content may be null beside tool calls, or a list of text parts,
            and of thinking parts, which are read as the message's thinking.
        faults: Counts what of the messages is not read, such as "message key 'images'".

    Returns:
        The turns. Keys that are null are as if they were not there.

    Raises:
        Unreadable: It is none of these.

    Example:
        >>> turns_of([{"from": "human", "value": "Hi"}])
        (Turn(role='user', content='Hi', more=''),)
    """
    counted = faults if faults is not None else Faults("")
    messages = _listed(value)
    if not messages:
        raise Unreadable("an empty list of messages")
    return tuple(turn for i, m in enumerate(messages, 1) for turn in _turns(m, i, counted))


def _listed(value: Any) -> Sequence[Any]:
    """The messages one by one."""
    if isinstance(value, Mapping):
        columns = [v for v in value.values() if v is not None]
        if columns and all(isinstance(v, list | tuple) for v in columns) and key(value, ROLE):
            if len({len(v) for v in columns}) > 1:
                raise Unreadable("an object of lists of different lengths")
            keys = [k for k, v in value.items() if v is not None]
            return [dict(zip(keys, cells, strict=True)) for cells in zip(*columns, strict=True)]
        if not key(value, ROLE) and "input" not in value:
            raise Unreadable(
                f"an object with {', '.join(map(str, value)) or 'nothing in it'} where text or a "
                "list of messages was expected"
            )
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise Unreadable(f"{type(value).__name__} where text or a list of messages was expected")
    return value


def _turns(message: Any, i: int, faults: Faults) -> list[Turn]:
    """One message as turns: one, or two of a round."""
    if not isinstance(message, Mapping):
        raise Unreadable(
            f"message {i} is a {type(message).__name__}, not an object with role and content"
        )
    if "input" in message and "output" in message and not key(message, ROLE):
        ask, said = message["input"], message["output"]
        if not isinstance(ask, str) or not isinstance(said, str | None):
            raise Unreadable(f"message {i} has an input or an output that is no text")
        _count(message, ("input", "output"), faults)
        return [Turn("user", ask), *([Turn("assistant", said)] if said is not None else [])]
    by, holds = key(message, ROLE), key(message, CONTENT)
    role = message.get(by) if by else None
    if not isinstance(role, str):
        raise Unreadable(f"message {i} has no role that is text")
    role = role.strip()
    parts = message.get(holds) if holds else None
    content = _text(parts, i, faults)
    more = {k: full(message[k]) for k in KEPT if message.get(k) not in EMPTY}
    thoughts = [part["thinking"] for part in _listed_parts(parts) if _thinks(part)]
    if thoughts:
        more["thinking"] = "\n".join(
            [*([more["thinking"]] if "thinking" in more else []), *thoughts]
        )
    calls = _calls(more.pop("tool_calls", []))
    if role.lower() == CALLS:
        said = _parsed(content)
        older = said if isinstance(said, list) else [said]
        if older and all(isinstance(call, Mapping) for call in older):
            calls, content = [*_calls(older), *calls], ""
        role = "assistant"
    if message.get(CALLS) not in EMPTY:
        calls = [*calls, *_calls(full(_parsed(message[CALLS])))]
    if calls:
        more["tool_calls"] = calls
    if content is None and not more:
        raise Unreadable(f"message {i} has no content that is text")
    _count(message, (by, holds, CALLS, *KEPT), faults)
    return [Turn(ROLES.get(role.lower(), role), content or "", as_more(more))]


def known_role(role: Any) -> bool:
    """Whether somebody of this role speaks in dialogues."""
    return isinstance(role, str) and role.strip().lower() in (*ROLES, CALLS)


def key(message: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The first of these keys that a message has, and not as null."""
    return next((n for n in names if message.get(n) is not None), None)


def _count(message: Mapping[str, Any], read: Sequence[str | None], faults: Faults) -> None:
    """Count the keys that are not read."""
    for name, value in message.items():
        if name not in read and value not in EMPTY:
            faults.skip(f"message key '{name}'")


def _text(content: Any, i: int, faults: Faults) -> str | None:
    """A content as text: its own, or that of its text parts; None for null."""
    if content is None or isinstance(content, str):
        return content
    if isinstance(content, Mapping) and isinstance(content.get("text"), str):
        content = [content]
    if not isinstance(content, list | tuple):
        raise Unreadable(f"message {i} has a content that is a {type(content).__name__}, no text")
    texts = list[str]()
    for part in content:
        said = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(said, str):
            texts.append(said)
            _count(part if isinstance(part, Mapping) else {}, ("type", "text"), faults)
        elif _thinks(part):
            _count(part, ("type", "thinking"), faults)
        elif isinstance(part, Mapping):
            faults.skip(f"message part '{part.get('type') or 'unknown'}'")
        elif part is not None:
            raise Unreadable(f"message {i} has a content with a {type(part).__name__} in it")
    if content and not texts and not any(map(_thinks, content)):
        raise Unreadable(f"message {i} has a content without text")
    return "".join(texts)


def _listed_parts(content: Any) -> Sequence[Any]:
    """The parts of a content; none where it is text."""
    return content if isinstance(content, list | tuple) else ()


def _thinks(part: Any) -> bool:
    """Whether a part of a content is a thinking part, as Anthropic's messages have them."""
    return isinstance(part, Mapping) and isinstance(part.get("thinking"), str)


def _calls(calls: Any) -> list[Any]:
    """Tool calls in today's form, with arguments as objects, which is how templates want them."""
    calls = _parsed(calls)
    made = list[Any]()
    for call in calls if isinstance(calls, list) else [calls]:
        if not isinstance(call, Mapping):
            made.append(call)
            continue
        inner = call.get("function")
        function = dict(inner if isinstance(inner, Mapping) else call)
        if "arguments" in function:
            function["arguments"] = _parsed(function["arguments"])
        nested = isinstance(inner, Mapping)
        made.append(
            {**call, "function": function} if nested else {"type": "function", "function": function}
        )
    return made


def _parsed(value: Any) -> Any:
    """JSON text as its value; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
