"""Prompts and completions as TRL holds them: texts, or lists of messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from assay.core import Prompts, PromptTexts
from assay.data import messages
from assay.data.turns import Turns, written


def turns_of(prompt: Any) -> str | Turns:
    """A prompt's text as it is, or its messages as turns.

    Example:
        >>> turns_of([{"role": "user", "content": "2 + 2?"}])
        (Turn(role='user', content='2 + 2?', more=''),)
    """
    return prompt if isinstance(prompt, str) else _read(prompt)


def in_words(prompts: Prompts, texts: PromptTexts) -> Prompts:
    """The same prompts, which are read by those who judge as these texts say."""
    return replace(prompts, decode=replace(texts, decode=prompts.decode or str))


def completion_text(completion: Any) -> str:
    """A completion's text as it is, or what the assistant says, thinks and calls in its messages.

    What a tool says is not the assistant's.
    """
    if isinstance(completion, str):
        return completion
    said = [written((t,)) for t in _read(completion) if t.role == "assistant"]
    return "\n\n".join(text for text in said if text)


def _read(said: Any) -> Turns:
    """Messages as turns; TRL writes a null content where the assistant only calls a tool."""
    return messages.turns_of([{**m, "content": m.get("content") or ""} for m in said])
