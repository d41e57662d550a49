"""A reward of 1 where a completion is the right answer in a column of the prompts' file, else 0.

It is given as `match:COLUMN`. A cell is a text, a number, or a list of these, any of them right.
Two texts are equal if they are equal after Unicode's compatibility form, ignoring case, blanks, and
punctuation or quotes at either end; two numbers, with or without thousands separators, if they have
the same value. The whole completion counts: `answer:COLUMN` reads the final answer of a longer one,
and a function (`FILE.py:name`) gets the column and reads what you like.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.data.turns import Turns
from assay.errors import InputError
from assay.rewards.function import FunctionReward, has

PREFIX = "match:"
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")


class ExactMatch(FunctionReward):
    """The reward of one column.

    Attributes:
        column: The column that holds the right answers.
    """

    kind, partial, open = "verifier", False, False
    prefix = PREFIX

    def __init__(self, column: str):
        self.column, self.takes = column, {column}
        self.names = (f"{self.prefix.rstrip(':')} {column}",)

    @property
    def spec(self) -> str:
        """How it was given."""
        return f"{self.prefix}{self.column}"

    def possible(
        self,
        columns: Mapping[str, Sequence[Any]],
        places: Collection[int],
        flag: str,
        file: str,
    ) -> None:
        """Check that every prompt in use has a right answer.

        Args:
            columns: The file's columns.
            places: The rows that prompts are drawn from.
            flag: The flag that named the reward, for the message.
            file: The file's name, for the message.

        Raises:
            InputError: There is no such column, or a prompt in use has no right answer.
        """
        if self.column not in columns:
            raise InputError(
                f"--{flag} is '{self.spec}', and {file} has no column '{self.column}'; "
                f"it {has(self.column, columns)}"
            )
        for p in places:
            cell = columns[self.column][p]
            if not self.accepted(cell):
                raise InputError(
                    f"--{flag} is '{self.spec}', and prompt {p} of {file} (counted from "
                    f"0) has {cell!r:.40} in that column; give every prompt a text, a number, or a "
                    "list of them"
                )

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "1 R"]:
        """See `FunctionReward.scores`; a response scores 1 or 0.

        Raises:
            InputError: The prompts have no such column.
        """
        if self.column not in (columns or {}):
            raise InputError(
                f"'{self.spec}' reads a column '{self.column}', and these prompts have "
                f"{', '.join(sorted(columns or {})) or 'no columns'}; give prompts that have it"
            )
        cells = (columns or {})[self.column]
        right = [self.said(r) in self.accepted(c) for r, c in zip(responses, cells, strict=True)]
        return torch.tensor([[float(x) for x in right]])

    def accepted(self, cell: Any) -> set[str]:
        """Return the answers that a cell accepts, in normal form; none where it holds none."""
        return accepted(cell)

    def said(self, response: str) -> str:
        """Return a response's answer in normal form."""
        return normal(response)


def accepted(cell: Any) -> set[str]:
    """Return the answers that a cell accepts, in normal form; none where it holds none."""
    some = cell if isinstance(cell, (list, tuple)) else [cell]
    texts = [str(v) for v in some if isinstance(v, (str, int, float)) and not isinstance(v, bool)]
    return {t for v in texts if (t := normal(v))}


def normal(text: str) -> str:
    """Return the form in which two equal answers are the same text."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    plain = plain.strip(" .,;:!?\"'`*“”‘’«»")
    return repr(float(plain.replace(",", ""))) if _NUMBER.fullmatch(plain) else plain
