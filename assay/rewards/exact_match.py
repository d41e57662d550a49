"""A column of the prompts' file that holds the right answer, as a judge: 1 where an answer is it, 0
where it is not.

`match:NAME`. A cell is a text, a number, or a list of those, any of which is right. Two texts are
the same if they are so after Unicode's compatibility form, without regard to case, blanks, and
punctuation or quotes at either end; two numbers, written with or without separators of thousands,
if they have the same value. The whole answer counts: what to look for within a longer one is a
function's business (`FILE.py:name` is handed the column).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.errors import InputError
from assay.rewards.function import FunctionReward, Turns

PREFIX = "match:"
_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?")


class Matched(FunctionReward):
    """The judge of one column."""

    kind, partial, open = "verifier", False, False

    def __init__(self, column: str):
        self.column, self.takes, self.names = column, {column}, (f"match {column}",)

    def possible(
        self, columns: Mapping[str, Sequence[Any]], places: Collection[int], flag: str, file: str
    ) -> None:
        """Raises InputError where a prompt that answers are drawn for has no right answer."""
        for p in places:
            cell = columns[self.column][p] if self.column in columns else None
            if not accepted(cell):
                raise InputError(
                    f"--{flag} is '{PREFIX}{self.column}', and prompt {p} of {file} (counted from "
                    f"0) has {cell!r:.40} in that column; give every prompt a text, a number, or "
                    "a list of them"
                )

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "1 R"]:
        """1 or 0 a response."""
        cells = (columns or {}).get(self.column, [None] * len(responses))
        return torch.tensor(
            [[float(normal(r) in accepted(c)) for r, c in zip(responses, cells, strict=True)]]
        )


def accepted(cell: Any) -> set[str]:
    """The answers that a cell accepts, in normal form; none where it holds nothing of use."""
    some = cell if isinstance(cell, (list, tuple)) else [cell]
    texts = [str(v) for v in some if isinstance(v, (str, int, float)) and not isinstance(v, bool)]
    return {t for v in texts if (t := normal(v))}


def normal(text: str) -> str:
    """What two answers have in common that are one."""
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(
        " .,;:!?\"'`*“”‘’«»"
    )
    return repr(float(plain.replace(",", ""))) if _NUMBER.fullmatch(plain) else plain
