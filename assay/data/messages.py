"""Messages of a data file as turns, in the forms in which people and libraries write them."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.turns import ROLES, THOUGHT, Turn, Turns, as_more, full

# What else of a message chat templates write.
KEPT = ("name", "tool_call_id", "tool_calls", "tools", *THOUGHT)
_ROLE, _CONTENT = ("role", "from"), ("content", "value")
_SPEAKS = re.compile(r"""["'](?:role|from)["']\s*:""")
_BEGINS = re.compile(r"""\s*\[?\s*\{\s*["'](?:role|from|content|value)["']\s*:""")
_NO_COMMA = re.compile(r"\}\s*\n\s*\{")  # NumPy prints arrays of dicts without commas
LONGEST = 1 << 20  # characters of a cell that is tried as messages


class Unreadable(Exception):
    """A cell that is no list of messages; its text says what is wrong with it."""


def turns_of(value: Any, unread: Counter[str] | None = None) -> Turns:
    """Messages as turns.

    Args:
        value: A list of messages ({role, content} or {from, value}), one message, an object of
            lists ({role: […], content: […]}, as Parquet and `datasets` hold them), or rounds
            ({input, output}). A content may be null beside tool calls, or a list of text parts.
        unread: Counts what of the messages is not read, such as "message key 'images'".

    Returns:
        The turns. Keys that are null are as if they were not there.

    Raises:
        Unreadable: It is none of these.

    Example:
        >>> turns_of([{"from": "human", "value": "Hi"}])
        (Turn(role='user', content='Hi', more=''),)
    """
    counted = Counter[str]() if unread is None else unread
    messages = _listed(value)
    if not messages:
        raise Unreadable("an empty list of messages")
    return tuple(turn for i, m in enumerate(messages, 1) for turn in _turns(m, i, counted))


def _listed(value: Any) -> Sequence[Any]:
    """The messages one by one."""
    if isinstance(value, Mapping):
        columns = [v for v in value.values() if v is not None]
        if columns and all(isinstance(v, list | tuple) for v in columns) and _key(value, _ROLE):
            if len({len(v) for v in columns}) > 1:
                raise Unreadable("an object of lists of different lengths")
            keys = [k for k, v in value.items() if v is not None]
            return [dict(zip(keys, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return [value]
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise Unreadable(f"{type(value).__name__} where text or a list of messages was expected")
    return value


def _turns(message: Any, i: int, unread: Counter[str]) -> list[Turn]:
    """One message as turns: one, or two of a round."""
    if not isinstance(message, Mapping):
        raise Unreadable(
            f"message {i} is a {type(message).__name__}, not an object with role and content"
        )
    if "input" in message and "output" in message and not _key(message, _ROLE):
        both = (("user", message["input"]), ("assistant", message["output"]))
        if not all(isinstance(text, str) for _, text in both):
            raise Unreadable(f"message {i} has an input or an output that is no text")
        _count(message, ("input", "output"), unread)
        return [Turn(role, text) for role, text in both]
    by, holds = _key(message, _ROLE), _key(message, _CONTENT)
    role = message.get(by) if by else None
    if not isinstance(role, str):
        raise Unreadable(f"message {i} has no role that is text")
    content = _text(message.get(holds) if holds else None, i, unread)
    more = {k: full(message[k]) for k in KEPT if message.get(k) not in (None, "", [], {})}
    if role == "function_call" or message.get("function_call"):
        # older forms of tool calls: a role of its own, and a key of the assistant's message
        call = _parsed(content) if role == "function_call" else message["function_call"]
        if isinstance(call, Mapping):
            content = "" if role == "function_call" else content or ""
            more["tool_calls"] = [{"type": "function", "function": full(call)}]
        role = "assistant"
    if "tool_calls" in more:
        more["tool_calls"] = _calls(more["tool_calls"])
    if content is None and not more:
        raise Unreadable(f"message {i} has no content that is text")
    _count(message, (by, holds, "function_call", *KEPT), unread)
    return [Turn(ROLES.get(role.lower(), role), content or "", as_more(more))]


def _key(message: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((n for n in names if message.get(n) is not None), None)


def _count(message: Mapping[str, Any], read: Sequence[str | None], unread: Counter[str]) -> None:
    """Count the keys that are not read."""
    for key, value in message.items():
        if key not in read and value not in (None, "", [], {}):
            unread[f"message key '{key}'"] += 1


def _text(content: Any, i: int, unread: Counter[str]) -> str | None:
    """A content as text: its own, or that of its text parts; None for null."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list | tuple):
        raise Unreadable(f"message {i} has a content that is a {type(content).__name__}, no text")
    texts = list[str]()
    for part in content:
        said = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(said, str):
            texts.append(said)
            _count(part, ("type", "text"), unread) if isinstance(part, Mapping) else None
        elif isinstance(part, Mapping):
            unread[f"message part '{part.get('type', 'unknown')}'"] += 1
        else:
            raise Unreadable(f"message {i} has a content with a {type(part).__name__} in it")
    if content and not texts:
        raise Unreadable(f"message {i} has a content without text")
    return "".join(texts)


def _calls(calls: Any) -> Any:
    """Tool calls with their arguments as objects, which is how chat templates want them."""
    calls = _parsed(calls)
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict) and "arguments" in function:
            function["arguments"] = _parsed(function["arguments"])
    return calls if isinstance(calls, list) else [calls]


def _parsed(value: Any) -> Any:
    """JSON text as its value; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def parsed(text: str) -> Any:
    """Messages that were written into a text cell, as JSON or as Python or NumPy prints them.

    Args:
        text: A cell.

    Returns:
        The list or the object; None for a text that is no messages.

    Raises:
        Unreadable: The text begins as messages do, and is cut or damaged.
    """
    if text.lstrip()[:1] not in ("[", "{") or not _SPEAKS.search(text) or len(text) > LONGEST:
        return None
    for read in (json.loads, ast.literal_eval, _numpy):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if _are_messages(value) else None
    if _BEGINS.match(text):
        raise Unreadable("text that begins as a list of messages and cannot be read as one")
    return None


def _numpy(text: str) -> Any:
    return ast.literal_eval(_NO_COMMA.sub("}, {", text))


def _are_messages(value: Any) -> bool:
    if isinstance(value, dict):
        value = [value]
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, dict) and _key(m, _ROLE) and set(m) & set(_CONTENT) for m in value)
    )


def rounds(value: Any) -> list[str] | None:
    """A cell that is a list of texts, one a round, or JSON of one; None for any other cell."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _parsed(value)
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(text is None or isinstance(text, str) for text in value):
        return None
    return [text or "" for text in value]
