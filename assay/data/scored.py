"""Scored responses from rows, and the prompts that group them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.cells import Cell, joined_turns, reply_turns
from assay.data.dialogues import (
    is_plain,
    joined,
    parted,
    trimmed,
    uncopied,
    unsaid,
    with_tools,
)
from assay.data.faults import FIX, ONE_PROMPT, Faults
from assay.data.kinds import Layout
from assay.data.prompt_cells import PromptCells
from assay.data.turns import Turns, written
from assay.data.verdicts import score_of


@dataclass(frozen=True, slots=True)
class Scored:
    """One response to one prompt.

    Attributes:
        row: Its row in the file.
        prompt: The prompt.
        response: The response.
        score: Its score; NaN if the file has none and none is needed.
        turns: The prompt's turns, if it is a dialogue.
        reply: The response's turns, if it is more than the assistant's plain text.
    """

    row: int
    prompt: str
    response: str
    score: float
    turns: Turns | None = None
    reply: Turns | None = None


def scored(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Scored]:
    """Read the responses of a file.

    An empty response is a warning, since a model can say nothing and be scored for it. An empty
    prompt is an error, since it belongs to no group.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows with faults, which are left out.
    """
    cells = PromptCells(layout, faults)
    ask, said = layout.parts["prompt"], layout.parts["response"]
    for i, row in rows:
        cells.count_unread(row)
        prompt, response = cells.prompt(i, row), cells.cell(i, row, said)
        score = score_of(i, row, layout, faults)
        if prompt is None or response is None or score is None:
            continue
        made = completed(i, said, prompt, response, faults)
        if made is None:
            continue
        before, reply = made
        if not before.text.strip():
            faults.error("empty text", i, ask, "an empty prompt", FIX)
            continue
        if not reply.text.strip():
            faults.warn(
                "empty response",
                i,
                said,
                "a response without text",
                "it is kept and scored like any other",
            )
        yield Scored(i, before.text, reply.text, score, before.turns, reply.turns)


def completed(
    i: int, column: str, prompt: Cell, response: Cell, faults: Faults
) -> tuple[Cell, Cell] | None:
    """A prompt and its completion, of which either may be a dialogue.

    A completion may repeat the prompt, or go on from it with further turns.

    Args:
        i: The row's number.
        column: The completion's column.
        prompt: The prompt; without text where the completion's dialogue holds it.
        response: The completion.
        faults: Counts a completion that does not go on from the prompt or has no turn of the
            assistant, and what is not read.

    Returns:
        Both; the completion has turns only if it is more than the assistant's plain text. None for
        a faulty row.
    """
    turns = response.turns
    if turns is None and prompt.text:
        turns = reply_turns(prompt, response.text)
    if turns is None and prompt.turns is not None:
        begin = unsaid(prompt.turns, response.text)
        return Cell.of(begin), Cell(response.text.strip())
    if turns is None:
        return prompt, Cell(_after(i, column, prompt.text, response.text, faults))
    before, reply, after = parted(turns)
    if not reply:
        faults.error(
            "no completion",
            i,
            column,
            f"a conversation whose last turn is the {turns[-1].role}'s",
            "end it with the assistant's turn",
        )
        return None
    faults.skip("turns after the assistant's last one", len(after))
    if not prompt.text:
        whole: Turns | None = before
    elif turns[0].role == "assistant":  # all of it goes on from the prompt
        whole, reply = joined_turns(prompt), trimmed(turns)[0]
    else:
        begin = uncopied(joined_turns(prompt), turns)
        whole = joined(begin, before)
        whole = None if whole is None else with_tools(joined_turns(prompt), whole)
    if whole is None:
        faults.error(
            "other prompt",
            i,
            column,
            "a dialogue that does not go on from the prompt column",
            ONE_PROMPT,
        )
        return None
    asked = Cell.of(whole) if whole else Cell("")
    return asked, Cell(written(reply), None if is_plain(reply) else reply)


def _after(i: int, column: str, prompt: str, response: str, faults: Faults) -> str:
    """A response without the prompt that it begins with.

    A prompt of a few words may stand there by accident.
    """
    if len(prompt.split()) < 4 or not response.startswith(prompt):
        return response
    faults.warn(
        "prompt repeated",
        i,
        column,
        "the response begins with the prompt",
        "it was removed from it",
    )
    return response[len(prompt) :]


def within(prompts: list[str]) -> tuple[list[int], list[str]]:
    """Group rows by prompt.

    Returns:
        Each row's group, and the groups' prompts in order of first appearance.
    """
    names: dict[str, int] = {}
    group = [names.setdefault(p, len(names)) for p in prompts]
    return group, list(names)
