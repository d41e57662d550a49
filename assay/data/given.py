"""Prompts and completions as Python values: texts, or conversations as lists of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.data.turns import Turn, Turns, transcript, turns_of, written
from assay.errors import InputError


def given_texts(
    prompts: Sequence[Any], completions: Sequence[Any]
) -> tuple[list[str], list[str], list[Turns | None]]:
    """Read prompts with their completions as a file's cells are read.

    Args:
        prompts: Texts, or lists of messages.
        completions: One text, or list of messages, a prompt.

    Returns:
        (the prompts as text, the completions as text, the prompts' turns; None where a prompt is
        plain text).

    Raises:
        InputError: There are not as many of both, or an entry is neither text nor messages.

    Example:
        >>> given_texts([[{"role": "user", "content": "Hi"}]], ["Hello!"])
        (['Hi'], ['Hello!'], [(Turn(role='user', content='Hi', more=''),)])
    """
    for name, value in (("prompts", prompts), ("completions", completions)):
        if isinstance(value, str) or not hasattr(value, "__len__"):
            raise InputError(f"{name} is a {type(value).__name__}; give a list, one entry a row")
    if len(prompts) != len(completions):
        raise InputError(
            f"there are {len(prompts):,} prompts and {len(completions):,} completions; give one "
            "completion for each prompt, and a prompt as often as it has completions"
        )
    asks, said, turns = list[str](), list[str](), list[Turns | None]()
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        before = _turns(prompt, f"prompts[{i}]")
        answer = _turns(completion, f"completions[{i}]")
        text = completion if answer is None else written(answer)
        if before is None and (found := transcript(prompt)) is not None:
            before = found[:-1] if found[-1] == Turn("assistant", "") else found
            text = text.strip()
        asks.append(prompt if before is None else written(before))
        said.append(text)
        turns.append(before)
    return asks, said, turns


def _turns(value: Any, where: str) -> Turns | None:
    """The turns of a list of messages; None for text."""
    if isinstance(value, str):
        return None
    found = turns_of(list(value) if isinstance(value, tuple) else value)
    if isinstance(found, str):
        raise InputError(f"{where}: {found}; give text, or a list of {{role, content}}")
    return found
