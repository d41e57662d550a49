"""Dialogues as turns and as text: messages, and `Human:/Assistant:` transcripts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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

    def with_more(self, **extras: Any) -> Turn:
        """Return the turn with further contents."""
        return self._replace(more=as_more({**self.extras(), **extras}))


Turns = tuple[Turn, ...]
REASONING = ("reasoning_content", "thinking", "reasoning")  # three keys of one thing
EMPTY: tuple[Any, ...] = (None, "", [], {})  # values of a cell or a key that say nothing
ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
SAYS = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_MARK = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?", re.M)
_HUMAN = re.compile(r"(?:^|\n\n)Human:")


def as_more(extras: dict[str, Any]) -> str:
    """Extras of a message as `Turn.more` has them, without keys that are null."""
    held = full(extras)
    return json.dumps(held, ensure_ascii=False, sort_keys=True, default=str) if held else ""


def full(value: Any) -> Any:
    """A value without its nulls: Parquet gives every call all the keys that any call has."""
    if isinstance(value, Mapping):
        return {str(k): full(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [full(v) for v in value]
    return value


def transcript(text: str) -> Turns | None:
    """The turns of a `Human:/Assistant:` transcript; None for any other text."""
    if "Human:" not in text or not _HUMAN.search(text):
        return None
    marks = list(_MARK.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        return None
    ends = [m.start() for m in marks[1:]] + [len(text)]
    turns = [
        Turn(ROLES[mark[1].lower()], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    return tuple(turns)


def continued(text: str) -> Turns | None:
    """The turns of a text that goes on after `Assistant:`; None if no other speaker follows."""
    return transcript(f"\n\nAssistant: {text}")


def begun(turns: Turns) -> Turns:
    """The turns of a prompt, without the empty `Assistant:` that ends a transcript's prompt."""
    return turns[:-1] if turns[-1] == Turn("assistant", "") else turns


def written(turns: Turns) -> str:
    """Turns as one text: a single turn is its own text, several are a transcript.

    Everything that a turn holds stands in the text: tools, reasoning, tool calls and names too.
    """
    if len(turns) == 1 and turns[0].role in ("user", "assistant"):
        return _said(turns[0])
    return "\n\n".join(f"{SAYS.get(t.role, t.role)}: {_said(t)}" for t in turns)


def _said(turn: Turn) -> str:
    """A turn's content, with what else it holds as text around it."""
    if not turn.more:
        return turn.content
    more = turn.extras()
    before = [f"Tools: {_json(more.pop('tools'))}"] if "tools" in more else []
    before += [f"<think>\n{more.pop(key)}\n</think>" for key in REASONING if key in more]
    calls = more.pop("tool_calls", None)
    after = [f"{key}: {v if isinstance(v, str) else _json(v)}" for key, v in more.items()]
    after += [f"Tool calls: {_json(calls)}"] if calls is not None else []
    return "\n".join([*before, *([turn.content] if turn.content else []), *after])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


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
