"""Prompts of people's files, and those of their preference pairs and demonstrations.

All three share one list of prompts. `Samples.prompts.row` points into it, so that a reward function
finds the prompt of any completion, and the other columns of its file, whichever file it came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.data.stream import stream
from assay.data.turns import Turns
from assay.engine import progress
from assay.errors import InputError
from assay.models.text_notes import as_written

Items = Sequence[tuple[int, Any]]  # (place of its prompt, a Pair or a Demo)
_NOT_COLUMNS = ("prompts", "completions", "messages")  # whoever judges gets these anyway


@dataclass
class PromptTable:
    """Prompts in order of appearance.

    Attributes:
        texts: Each prompt's text.
        turns: Each prompt's conversation; None for plain text.
        columns: The files' other columns by name, None where a prompt's file has no such column.
        first: The first place of each text.
        own: Places of the prompts that completions are sampled for.
        where: What messages call each prompt: its file, and its row there.
        rows: The rows of those prompts that come from a file of prompts.
    """

    texts: list[str] = field(default_factory=list)
    turns: list[Turns | None] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def add(
        self,
        text: str,
        turns: Turns | None,
        row: Mapping[str, Any],
        where: str = "",
    ) -> int:
        """Append a prompt.

        Args:
            text: Its text.
            turns: Its conversation; None for plain text.
            row: Its file's other columns.
            where: What messages call it.

        Returns:
            Its place.
        """
        place = len(self.texts)
        self.where.append(where)
        self.texts.append(text)
        self.turns.append(turns)
        for name in row:
            if name not in _NOT_COLUMNS:
                self.columns.setdefault(name, [None] * place).append(row.get(name))
        for cells in self.columns.values():
            if len(cells) == place:
                cells.append(None)
        self.first.setdefault(text, place)
        return place

    def find_or_add(
        self,
        text: str,
        turns: Turns | None,
        row: Mapping[str, Any],
        where: str = "",
    ) -> int:
        """The first place of a prompt's text; the prompt is appended if it is new.

        Args:
            text: Its text.
            turns: Its conversation; None for plain text.
            row: Its file's other columns.
            where: What messages call it.
        """
        return self.first[text] if text in self.first else self.add(text, turns, row, where)


def read_files(
    prompts: str,
    pairs: str,
    demos: str,
    *,
    templated: frozenset[str] = frozenset(),
    columns: Mapping[str, str],
    split: str,
    drop: bool = False,
    label_map: Mapping[str, Any] | None = None,
    rewarded: bool = True,
) -> tuple[PromptTable, Items, Items]:
    """Read the prompts, and the prompts of pairs and demonstrations after them.

    Without a prompts file, completions are sampled for the prompts of pairs and demonstrations; an
    empty prompt among these is trained on, but nothing is sampled for it.

    Args:
        prompts: The prompts file; "" for none.
        pairs: The file of preference pairs; "" for none.
        demos: The file of demonstrations; "" for none.
        templated: The parts of the rows that a chat template wrote already.
        columns: Names of columns in the files, by part.
        split: The part of the files to read; "" for all.
        drop: Leave rows with faults out and count them.
        label_map: What the label column of pairs says.
        rewarded: Whether there are rewards, whose functions get the other columns.

    Returns:
        The prompts, and (place of its prompt, item) of every pair and of every demonstration.

    Raises:
        InputError: There is no file, a column is not in any file, or a file has faulty rows, all of
            which are named.
    """
    table, files = PromptTable(), [f for f in (prompts, pairs, demos) if f]
    if not files:
        raise InputError(
            "--prompts is required: a file of prompts. Or pass --pairs or "
            "--demos, whose prompts are then used"
        )
    unused = set(columns) if len(files) > 1 else None

    def rows(path: str, kind: str) -> Any:
        said = label_map if kind == "pairs" else None
        found = stream(
            path,
            kind,
            columns=columns,
            label_map=said,
            split=split or None,
            unused=unused,
            drop=drop,
            rewarded=rewarded,
        )
        return progress.over(found, f"reading {path}", "rows")

    if prompts:
        for item, row in rows(prompts, "prompts"):
            ask = as_written(item.prompt, "prompt", templated)
            table.add(ask, item.turns, row, f"{prompts}, row {item.row}")
            table.rows.append(item.row)
    n = len(table.texts)
    items: list[Items] = []
    for path, kind in ((pairs, "pairs"), (demos, "demonstrations")):
        items.append(
            [
                (table.find_or_add(ask, item.turns, row, f"{path}, row {item.row}"), item)
                for item, row in (rows(path, kind) if path else ())
                for ask in [as_written(item.prompt, "prompt", templated)]
            ]
        )
    if unused:
        part = sorted(unused)[0]
        raise InputError(
            f"--columns {part}={columns[part]}: there is no such column in {' or '.join(files)}"
        )
    table.own = (
        list(range(n)) if prompts else [p for p, text in enumerate(table.texts) if text.strip()]
    )
    return table, items[0], items[1]
