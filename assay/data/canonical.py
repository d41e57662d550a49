"""One form for all dialects: an item of any file as a row that every reader reads as it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from assay.data.column_errors import CANONICAL
from assay.data.demos import Demo
from assay.data.kinds import ANSWER, Layout
from assay.data.pairs import Pair
from assay.data.prompt_cells import Prompt
from assay.data.prompt_columns import DIALOGUE, LIKE_A_PROMPT
from assay.data.score_column import SCORE
from assay.data.scored import Scored
from assay.data.turns import Turn, Turns

# What a reader may take for a part of a row, by its name alone.
READ_BY_NAME = {*CANONICAL, *LIKE_A_PROMPT, *DIALOGUE, *ANSWER, *SCORE}


@dataclass(frozen=True)
class Form:
    """The columns of a repaired file.

    Attributes:
        kind: "pairs", "scored", "demonstrations" or "prompts".
        parts: The column of each part.
        used: Columns of the file whose content stands in the parts, and which are not kept.
        renamed: New names of columns that are kept and that readers would take for a part.
    """

    kind: str
    parts: dict[str, str]
    used: frozenset[str]
    renamed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Layout, *, prompt: bool, p: bool, margin: bool) -> Form:
        """Choose the columns for a file.

        Args:
            found: The file's own columns.
            prompt: Whether pairs get a column for their prompt. Without it each completion begins
                with the prompt, as in the file.
            p: Whether a probability says anything.
            margin: Whether a margin says anything.
        """
        used = frozenset(found.parts.values())
        if found.kind in ("pairs", "choices"):
            names = [*(["prompt"] if prompt else []), "chosen", "rejected"]
            names += [*(["p"] if p else []), *(["margin"] if margin else [])]
            return cls("pairs", {n: n for n in names}, used)
        if "response" in found.parts:
            if "score" in found.parts:
                parts = {"prompt": "prompt", "response": "response", "score": found.parts["score"]}
                return cls("scored", parts, used)
            own = found.parts["response"]  # `match:answer` finds right answers by that name
            name = own if own == "answer" else "completion"
            return cls("demonstrations", {"prompt": "prompt", "response": name}, used)
        for name in ("messages", "text"):
            if name in found.parts:
                return cls("demonstrations", {name: name}, used)
        return cls("prompts", {"prompt": "prompt"}, used)

    @property
    def layout(self) -> Layout:
        """The columns as a reader has them."""
        return Layout(self.kind, self.parts, tuple(self.parts.values()))

    def kept(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of a row that play no part, under the names that they are kept by."""
        return {self.renamed.get(k, k): v for k, v in row.items() if k not in self.used}

    def renaming(self, columns: Iterable[str], all_columns: Iterable[str]) -> Form:
        """Return the form with new names for kept columns.

        Args:
            columns: The columns.
            all_columns: All columns of the file, whose names are taken.
        """
        taken = {*all_columns, *self.parts.values(), *self.renamed.values()}
        new = dict(self.renamed)
        for name in sorted(columns):
            other = f"unread_{name}"
            while other in taken:
                other += "_"
            taken.add(other)
            new[name] = other
        return replace(self, renamed=new)

    def cells(
        self, item: Any, row: Mapping[str, Any], found: Layout, *, bare: bool = True
    ) -> dict[str, Any]:
        """An item's own cells, by column.

        Args:
            item: A Pair, Scored, Demo or Prompt.
            row: The row of the file that it was read from.
            found: The columns of the file.
            bare: Write the only text of a completion as it is, and not as a message. Some texts
                would be read as transcripts or as messages then.
        """
        made = self._pair(item, bare) if isinstance(item, Pair) else self._single(item, bare)
        for part in ("p", "margin", "score"):
            if part in self.parts:
                made[part] = _as_written(getattr(item, part), found.get(row, part))
        return {self.parts[part]: value for part, value in made.items() if part in self.parts}

    def _pair(self, item: Pair, bare: bool) -> dict[str, Any]:
        texts = item.chosen, item.rejected
        replies = item.replies or (None, None)
        if "prompt" in self.parts:
            one, two = (
                _reply(text, reply, item.turns is None)
                for text, reply in zip(texts, replies, strict=True)
            )
            return {"prompt": _prompt(item.prompt, item.turns), "chosen": one, "rejected": two}
        one, two = (
            item.prompt + text
            if bare and reply is None and item.turns is None
            else _messages((*(item.turns or ()), *(reply or (Turn("assistant", text),))))
            for text, reply in zip(texts, replies, strict=True)
        )
        return {"chosen": one, "rejected": two}

    def _single(self, item: Scored | Demo | Prompt, bare: bool) -> dict[str, Any]:
        if isinstance(item, Prompt):
            return {"prompt": _prompt(item.prompt, item.turns)}
        said = item.response if isinstance(item, Scored) else item.completion
        if "response" in self.parts:
            return {
                "prompt": _prompt(item.prompt, item.turns),
                "response": _reply(said, item.reply, bare and item.turns is None),
            }
        turns = (*(item.turns or ()), *(item.reply or (Turn("assistant", said),)))
        bare &= item.turns is None and item.reply is None and "text" in self.parts
        return {name: said if bare else _messages(turns) for name in self.parts}


def _prompt(text: str, turns: Turns | None) -> Any:
    return text if turns is None else _messages(turns)


def _reply(text: str, reply: Turns | None, bare: bool) -> Any:
    """A completion: a text, or messages."""
    if reply is not None:
        return _messages(reply)
    return text if bare else _messages((Turn("assistant", text),))


def _messages(turns: Turns) -> list[dict[str, Any]]:
    return [turn.message() for turn in turns]


def _as_written(value: float, cell: Any) -> Any:
    """A number, as the file wrote it where that is a number."""
    same = isinstance(cell, int | float) and not isinstance(cell, bool) and cell == value
    return cell if same else value + 0.0
