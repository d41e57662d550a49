"""Which columns of a file make its prompt: one column, or several that a dialect joins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.data.messages import Unreadable, parsed, turns_of
from assay.data.turns import Turns
from assay.errors import InputError

PROMPT = ("prompt", "question", "instruction", "query", "input", "context")
DIALOGUE = ("messages", "conversations", "conversation")
LAST = ("history",)  # SHP's prompt, where no other column is one
SYSTEM = ("system", "system_prompt", "system_message")
HISTORY = ("history",)
INPUT = ("input", "context")  # beside `instruction`: Alpaca's and Dolly's
TOOLS = ("tools", "functions")
JOINED = ("system", "history", "input", "tools")  # parts that a prompt is joined from
LIKE_A_PROMPT = {*PROMPT, *DIALOGUE, *SYSTEM, *HISTORY, *TOOLS, "prompt_text", "instructions"}


def prompt_parts(
    seen: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    named: Mapping[str, str],
    file: str,
    *,
    dialogues: bool,
) -> dict[str, str]:
    """Find the columns that make the prompt.

    Alpaca's `instruction` and `input`, Dolly's `instruction` and `context`, LLaMA-Factory's
    `system` and `history`, and `tools` are joined. A dialogue that holds the text of the prompt
    column is the prompt.

    Args:
        seen: The file's columns that are no completions.
        rows: Its first rows.
        named: The user's columns by part; "" for a part that is not to be read.
        file: Its name, for messages.
        dialogues: Whether a column of messages may be the prompt: the file has completions in
            other columns, or it is read for its prompts.

    Returns:
        Columns by part: "prompt", and those of `JOINED` that there are.

    Raises:
        InputError: A prompt column and a dialogue stand side by side and say different things.
    """
    free = [c for c in seen if c not in named.values()]
    prompt = named.get("prompt") or _first(PROMPT, free)
    talk = next((c for c in DIALOGUE if dialogues and c in free and _talks(rows, c)), None)
    parts = dict[str, str]()
    if prompt is None:
        prompt = talk or _first(LAST, free)
    elif talk is not None and "prompt" not in named:
        prompt = _one_of(prompt, talk, rows, file)
    if prompt is None:
        return {}
    parts["prompt"] = prompt
    free = [c for c in free if c != prompt]
    joined = {"system": SYSTEM, "history": HISTORY, "tools": TOOLS}
    if prompt == "instruction":
        joined["input"] = INPUT
    for part in JOINED:
        column = named[part] if part in named else _first(joined.get(part, ()), free)
        if column:
            parts[part] = column
    return parts


def _first(names: Iterable[str], seen: Sequence[str]) -> str | None:
    return next((n for n in names if n in seen), None)


def _talks(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    """Whether a column holds messages in the first row that has any."""
    return any(_dialogue(row.get(column)) is not None for row in rows)


def _dialogue(cell: Any) -> Turns | None:
    try:
        value = parsed(cell) if isinstance(cell, str) else cell
        return None if value is None else turns_of(value)
    except Unreadable:
        return None


def _one_of(prompt: str, talk: str, rows: Sequence[Mapping[str, Any]], file: str) -> str:
    """The prompt column or the dialogue beside it.

    A dialogue that the assistant ends is a copy of a completion, as in UltraFeedback.
    """
    for row in rows:
        turns, text = _dialogue(row.get(talk)), row.get(prompt)
        if turns is None or turns[-1].role == "assistant":
            return prompt
        if not isinstance(text, str):
            return prompt
        if text.strip() not in [t.content.strip() for t in turns]:
            raise InputError(
                f"{file} has a prompt in '{prompt}' and a dialogue in '{talk}' that does not hold "
                f"it; say which is the prompt with --columns prompt={prompt} or --columns "
                f"prompt={talk} (and the other's place with system={prompt} or history={talk})"
            )
    return talk
