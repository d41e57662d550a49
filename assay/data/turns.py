"""Dialogues as turns and as text: lists of messages, and `Human:/Assistant:` transcripts."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """One message of a dialogue.

    Two turns that differ in anything that a model could read are different.

    Attributes:
        role: Who speaks, such as "user".
        content: What is said; "" where a message holds tool calls alone.
        more: What else the message holds that chat templates write, as JSON text of an object with
            sorted keys, such as '{"tool_calls": […]}'; "" for nothing.

    Example:
        >>> Turn("tool", "sunny", '{"name": "weather"}').message()
        {'role': 'tool', 'content': 'sunny', 'name': 'weather'}
    """

    role: str
    content: str
    more: str = ""

    def message(self) -> dict[str, Any]:
        """Return the turn as a message, as chat templates and reward functions read it."""
        return {"role": self.role, "content": self.content, **self.extras()}

    def extras(self) -> dict[str, Any]:
        """Return what the message holds besides its role and its content."""
        return dict(json.loads(self.more)) if self.more else {}


Turns = tuple[Turn, ...]
ROLES = {
    "human": "user",
    "user": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
}
SAYS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?", re.M)
_HUMAN = re.compile(r"(?:^|\n\n)Human:")


def turns_of(value: Any) -> Turns | str:
    """A list of messages as turns, or a phrase that says what is wrong with it."""
    if not isinstance(value, list):
        return f"{type(value).__name__} where text or a list of messages was expected"
    out = []
    for i, message in enumerate(value):
        if not isinstance(message, dict):
            kind = type(message).__name__
            return f"message {i + 1} is a {kind}, not an object with role and content"
        role, content = (
            message.get("role", message.get("from")),
            message.get("content", message.get("value")),
        )
        if not isinstance(role, str) or not isinstance(content, str):
            return f"message {i + 1} lacks a role or a content that is text"
        out.append(Turn(ROLES.get(role.lower(), role), content))
    return tuple(out) if out else "an empty list of messages"


def transcript(text: str) -> Turns | None:
    """The turns of a `Human:/Assistant:` transcript; None for any other text."""
    if "Human:" not in text or not _HUMAN.search(text):
        return None
    marks = list(_MARK.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return None
    ends = [m.start() for m in marks[1:]] + [len(text)]
    turns = [
        Turn(ROLES[m[1].lower()], text[m.end() : e].strip())
        for m, e in zip(marks, ends, strict=True)
    ]
    return tuple(turns)


def written(turns: Turns) -> str:
    """Turns as one text: a single turn is its own text, several are a transcript."""
    if len(turns) == 1 and turns[0][0] in ("user", "assistant"):
        return turns[0][1]
    return "\n\n".join(f"{SAYS.get(turn.role, turn.role)}: {turn.content}" for turn in turns)


def shared(first: Turns, second: Turns) -> int:
    """The number of first turns that two dialogues share; at least one more is left in each."""
    n = 0
    while n < min(len(first), len(second)) - 1 and first[n] == second[n]:
        n += 1
    return n


def prefix(first: str, second: str) -> int:
    """Length of the prompt that two texts share.

    It ends at the last shared `Assistant:` of transcripts, and otherwise at the last shared blank.
    """
    low, high = 0, min(len(first), len(second))
    while low < high:  # bisection on slices, which are compared at C speed
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    mark = first.rfind("\n\nAssistant:", 0, low)
    if mark >= 0 and mark + 12 <= low:
        return mark + 12
    if low == min(len(first), len(second)):
        return low
    return max(first.rfind(" ", 0, low), first.rfind("\n", 0, low)) + 1
