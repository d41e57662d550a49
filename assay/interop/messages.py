"""Prompts and completions as TRL holds them: texts, or lists of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assay.errors import InputError

Turns = tuple[tuple[str, str], ...]


def turns_of(prompt: Any) -> str | Turns:
    """A prompt's text as it is, or its messages as (role, text) turns.

    Example:
        >>> turns_of([{"role": "user", "content": "2 + 2?"}])
        (('user', '2 + 2?'),)
    """
    if isinstance(prompt, str):
        return prompt
    return tuple((str(m["role"]), _text(m)) for m in prompt)


def completion_text(completion: Any) -> str:
    """A completion's text as it is, or what the assistant says in its messages.

    What a tool says is not the assistant's.
    """
    if isinstance(completion, str):
        return completion
    said = [_text(m) for m in completion if m["role"] == "assistant"]
    return "\n\n".join(text for text in said if text)


def listed(value: Any, what: str) -> list[Any]:
    """A list of what a user gave: one name or one function is a list of one.

    Args:
        value: A string, a function, or a sequence.
        what: The argument's name, for the message.

    Raises:
        InputError: `value` is none of these.
    """
    if isinstance(value, str) or callable(value):
        return [value]
    if isinstance(value, Sequence):
        return list(value)
    raise InputError(f"{what} is a {type(value).__name__}; give a list")


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(
        str(part.get("text", "")) for part in content if part.get("type", "text") == "text"
    )
