"""Prompts of rows, joined from the columns that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assay.data.cells import Cell, Cells, joined_turns
from assay.data.dialogues import contains, parted
from assay.data.faults import FIX, Faults
from assay.data.kinds import Layout
from assay.data.prompt_columns import DIALOGUE, JOINED
from assay.data.text_cells import literal, rounds
from assay.data.turns import EMPTY, Turn, Turns, as_more, begun, transcript


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a file of prompts.

    Attributes:
        row: Its row in the file.
        prompt: The prompt.
        turns: Its turns, if it is a dialogue.
    """

    row: int
    prompt: str
    turns: Turns | None = None


def prompts(
    rows: Iterator[tuple[int, dict[str, Any]]], layout: Layout, faults: Faults
) -> Iterator[Prompt]:
    """Read the prompts of a file; an empty one is an error.

    Args:
        rows: (row number, row).
        layout: Which columns to read.
        faults: Counts rows with faults, which are left out.
    """
    cells = PromptCells(layout, faults)
    for i, row in rows:
        cells.count_unread(row)
        cell = cells.prompt(i, row)
        if cell is not None and not cell.text.strip():
            faults.error("empty text", i, layout.parts["prompt"], "an empty prompt", FIX)
        elif cell is not None:
            yield Prompt(i, cell.text, cell.turns)


class PromptCells(Cells):
    """Reads the cells of one file, and joins its prompts.

    Args:
        layout: Its columns.
        faults: Counts faulty cells, and what is not read.
    """

    def __init__(self, layout: Layout, faults: Faults):
        super().__init__(layout, faults)
        self.column = layout.parts.get("prompt")
        self.joins = [part for part in JOINED if part in layout.parts]

    def prompt(self, i: int, row: dict[str, Any]) -> Cell | None:
        """Read the prompt and join what belongs to it; None for a faulty one, which is counted.

        A `Human:/Assistant:` transcript is a dialogue.
        """
        assert self.column is not None
        asks = rounds(row.get(self.column))
        if asks and (not isinstance(row[self.column], str) or self._answered(row, len(asks))):
            if len(asks) > 1:
                self.wrong(
                    i,
                    self.column,
                    f"{len(asks)} rounds of questions without the answers between them",
                    "write text, or a list of {role, content}",
                )
                return None
            row = {**row, self.column: asks[0]}
        cell = self.cell(i, row, self.column)
        if cell is None:
            return None
        if cell.turns is None and (turns := transcript(cell.text)) is not None:
            cell = Cell.of(begun(turns), spoken=True) if begun(turns) else Cell("")
        if cell.turns is not None and self.layout.kind == "prompts" and self.column in DIALOGUE:
            before, reply, after = parted(cell.turns)
            if before and reply:  # demonstrations that are read for their prompts
                self.faults.skip("turns after the user's last one", len(reply) + len(after))
                cell = Cell.of(before)
        return self.join(i, row, cell)

    def _answered(self, row: dict[str, Any], n: int) -> bool:
        """Whether another column holds a list of as many texts: answers, round by round."""
        others = (rounds(cell) for column, cell in row.items() if column != self.column)
        return any(said is not None and len(said) == n for said in others)

    def join(self, i: int, row: dict[str, Any], cell: Cell) -> Cell | None:
        """Join a prompt, or a dialogue that begins with one, and what belongs to it.

        Args:
            i: The row's number.
            row: The row.
            cell: The prompt column's cell.

        Returns:
            The whole; None where a part is faulty, which is counted.
        """
        reads = {
            "input": self._input,
            "history": self._history,
            "system": self._system,
            "tools": self._tools,
        }
        whole: Cell | None = cell
        for part, read in reads.items():
            if whole is not None and part in self.joins:
                column = self.layout.parts[part]
                if row.get(column) not in EMPTY:
                    whole = read(i, row, column, whole)
        return None if whole is None else whole._replace(spoken=cell.spoken)

    def _input(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Alpaca's input stands below its instruction."""
        more = self.cell(i, row, column)
        if more is None:
            return None
        if ask.turns is None and more.turns is None:
            return Cell(f"{ask.text}\n{more.text}") if more.text.strip() else ask
        return Cell.of((*joined_turns(ask), *joined_turns(more)))

    def _history(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Earlier turns: [question, answer] rounds, messages, or a transcript."""
        value = row[column]
        if isinstance(value, str):
            held = literal(value) if value.lstrip()[:1] == "[" else None
            value = held if isinstance(held, list) else value
        if value in EMPTY:
            return ask
        if isinstance(value, list) and all(isinstance(r, list | tuple) for r in value):
            if not all(len(r) == 2 and all(isinstance(x, str) for x in r) for r in value):
                self.wrong(
                    i,
                    column,
                    "rounds that are not [question, answer]",
                    "write pairs of texts, or messages",
                )
                return None
            before = tuple(
                Turn(role, text)
                for r in value
                for role, text in zip(("user", "assistant"), r, strict=True)
            )
            return self.whole(i, column, Cell.of((*before, *joined_turns(ask))))
        cell = self.cell(i, row, column)
        if cell is None:
            return None
        earlier = cell.turns or transcript(cell.text)
        if earlier is None:
            self.wrong(
                i,
                column,
                "a history that is neither rounds nor messages",
                "write [question, answer] rounds or messages, or leave the column out with "
                "--columns history=",
            )
            return None
        earlier = begun(earlier)
        asked = joined_turns(ask)
        if contains(earlier, asked):
            if earlier[-1].role != "assistant":
                return Cell.of(earlier)
            if contains(parted(earlier)[0][-len(asked) :], asked):
                self.wrong(
                    i,
                    column,
                    "a history that ends with an answer to the prompt",
                    f"read that answer with --columns messages={column}, or leave the column out "
                    "with --columns history=",
                )
                return None
        return Cell.of((*earlier, *asked))

    def _system(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        cell = self.cell(i, row, column)
        if cell is None:
            return None
        if not cell.text.strip():
            return ask
        turns = joined_turns(ask)
        begin = cell.turns if cell.turns is not None else (Turn("system", cell.text),)
        if turns[0].role != "system":
            return Cell.of((*begin, *turns))
        if turns[0].content.strip() == begin[0].content.strip() and len(begin) == 1:
            return ask
        self.faults.error(
            "two system turns",
            i,
            column,
            "a system text other than the one that the dialogue begins with",
            "keep one of the two, or leave the column out with --columns system=",
        )
        return None

    def _tools(self, i: int, row: dict[str, Any], column: str, ask: Cell) -> Cell | None:
        """Schemas of tools, which a chat template writes before the dialogue."""
        tools = row[column]
        if isinstance(tools, str):
            tools = literal(tools)
        if tools is None:
            self.wrong(
                i,
                column,
                "text that is no list of tools",
                "write a list of schemas, or leave the column out with --columns tools=",
            )
            return None
        if not tools:
            return ask
        first, *rest = joined_turns(ask)
        more = as_more({**first.extras(), "tools": tools})
        return self.whole(i, column, Cell.of((first._replace(more=more), *rest)))
