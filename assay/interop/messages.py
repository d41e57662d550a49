"""Prompts and completions as TRL holds them: texts, or lists of messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assay.core import Prompts, PromptTexts
from assay.data.turns import Turn, Turns


def turns_of(prompt: Any) -> str | Turns:
    """A prompt's text as it is, or its messages as turns.

    Example:
        >>> turns_of([{"role": "user", "content": "2 + 2?"}])
        (Turn(role='user', content='2 + 2?', more=''),)
    """
    if isinstance(prompt, str):
        return prompt
    return tuple(Turn(str(m["role"]), _text(m)) for m in prompt)


def in_words(prompts: Prompts, texts: PromptTexts) -> Prompts:
    """The same prompts, which are read by those who judge as these texts say."""
    return replace(prompts, decode=replace(texts, decode=prompts.decode or str))


def completion_text(completion: Any) -> str:
    """A completion's text as it is, or what the assistant says in its messages.

    What a tool says is not the assistant's.
    """
    if isinstance(completion, str):
        return completion
    said = [_text(m) for m in completion if m["role"] == "assistant"]
    return "\n\n".join(text for text in said if text)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(
        str(part.get("text", "")) for part in content if part.get("type", "text") == "text"
    )
