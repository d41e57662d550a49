"""Which columns of a file make its prompt: one column, or several that a dialect joins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.data.dialogues import contains, parted, same
from assay.data.messages import Unreadable, turns_of
from assay.data.text_cells import parsed
from assay.data.turns import Turn, Turns
from assay.errors import InputError

PROMPT = ("prompt", "question", "instruction", "query", "input", "context", "problem")
DIALOGUE = ("messages", "conversations", "conversation", "context_messages")
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
    closed: bool = True,
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
        closed: Whether that column may end with the assistant's turn.

    Returns:
        Columns by part: "prompt", and those of `JOINED` that there are.

    Raises:
        InputError: A prompt column and a dialogue stand side by side and say different things.
    """
    free = [c for c in seen if c not in named.values()]
    prompt = named.get("prompt") or first_of(PROMPT, free)
    talk = next((c for c in DIALOGUE if dialogues and c in free and _talks(rows, c, closed)), None)
    parts = dict[str, str]()
    if prompt is None:
        prompt = talk or first_of(LAST, free)
    elif talk is not None and "prompt" not in named:
        prompt = _one_of(prompt, talk, rows, file)
    if prompt is None:
        return {}
    parts["prompt"] = prompt
    inputs = INPUT if prompt == "instruction" else ()
    return {**parts, **joined_parts([c for c in free if c != prompt], named, inputs)}


def joined_parts(
    free: Sequence[str], named: Mapping[str, str], inputs: Sequence[str] = ()
) -> dict[str, str]:
    """Find the columns that a prompt, or a dialogue, is joined with.

    Args:
        free: Columns that play no part yet.
        named: The user's columns by part; "" for a part that is not to be read.
        inputs: Names of a column that stands below an instruction.
    """
    parts = dict[str, str]()
    joined = {"system": SYSTEM, "history": HISTORY, "input": inputs, "tools": TOOLS}
    for part in JOINED:
        column = named[part] if part in named else first_of(joined[part], free)
        if column:
            parts[part] = column
    return parts


def first_of(names: Iterable[str], seen: Sequence[str]) -> str | None:
    """The first of these names that is a column of the file."""
    return next((n for n in names if n in seen), None)


def _talks(rows: Sequence[Mapping[str, Any]], column: str, closed: bool) -> bool:
    """Whether a column holds messages, and such that may end with the assistant's."""
    held = (_dialogue(row.get(column)) for row in rows)
    first = next((turns for turns in held if turns is not None), None)
    return first is not None and (closed or first[-1].role != "assistant")


def _dialogue(cell: Any) -> Turns | None:
    try:
        value = parsed(cell) if isinstance(cell, str) else cell
        return None if value is None else turns_of(value)
    except Unreadable:
        return None


def _one_of(prompt: str, talk: str, rows: Sequence[Mapping[str, Any]], file: str) -> str:
    """The prompt column or the dialogue beside it.

    A dialogue that says no more than the prompt before the assistant's last reply is a copy of a
    completion, as in UltraFeedback. One that says more, and the prompt too, is the prompt.
    """
    choice = prompt
    for row in rows:
        turns, cell = _dialogue(row.get(talk)), row.get(prompt)
        if turns is None or cell is None:
            continue
        asked = _dialogue(cell) or (Turn("user", cell if isinstance(cell, str) else ""),)
        before = parted(turns)[0] if turns[-1].role == "assistant" else turns
        if same(before, asked) and turns[-1].role == "assistant":
            continue
        if not contains(before, asked):
            raise InputError(
                f"{file} has a prompt in '{prompt}' and a dialogue in '{talk}' that does not hold "
                f"it; say which is the prompt with --columns prompt={prompt} or --columns "
                f"prompt={talk}, and --columns history={talk} if the dialogue comes before the "
                "prompt"
            )
        choice = talk
    return choice


def one_completion(
    rows: Sequence[Mapping[str, Any]], seen: Sequence[str], answer: str, file: str
) -> None:
    """Check that a dialogue beside the completion's column ends with the same completion.

    Args:
        rows: The file's first rows.
        seen: Its columns.
        answer: The completion's column.
        file: Its name, for messages.

    Raises:
        InputError: It ends with another one, such as a worked solution beside its result.
    """
    for talk in (c for c in DIALOGUE if c in seen and c != answer):
        for row in rows:
            turns, cell = _dialogue(row.get(talk)), row.get(answer)
            if turns is None or turns[-1].role != "assistant" or not isinstance(cell, str):
                continue
            if cell.strip() != turns[-1].content.strip():
                raise InputError(
                    f"{file} has a completion in '{answer}' and another one at the end of "
                    f"'{talk}'; say which is the completion with --columns messages={talk} or "
                    f"--columns response={answer}"
                )
