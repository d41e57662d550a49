"""The nouns of labeling: a Question is two answers in the order in which they are shown, an Answer
is what was said.

Nothing in a Question says whose answer is whose: the order was drawn, and only the watch can turn
it back. A Labeler yields Answers one by one, in any order, so that each can be written down before
the next is paid for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assay.errors import InputError

SAID = {
    "first": 1.0,
    "second": 0.0,
    "tie": 0.5,
}  # what a label says of the answer that was shown first


@dataclass(frozen=True)
class Question:
    """Which of two answers to one prompt is better? (who, step, place) is its address in the run's
    ledger.

    `columns`: what else is known of the prompt, for functions. `drawn`: the answers as the world
    holds them, in the order shown, for a gold that reads no text; never written down.
    """

    who: str
    step: int
    place: tuple[int, ...]
    prompt: str
    first: str
    second: str
    columns: dict[str, Any] = field(default_factory=dict)
    drawn: Any = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Twelve letters that say nothing: a digest of the address and of the texts in their order,
        so that a label can only be used for the very question that was answered.
        """
        parts = "\0".join(
            [self.who, str(self.step), repr(self.place), self.prompt, self.first, self.second]
        )
        return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

    def line(self) -> dict[str, Any]:
        """As it stands in questions.jsonl: what a person needs in order to answer, and the address."""
        return {
            "id": self.id,
            "who": self.who,
            "step": self.step,
            "place": list(self.place),
            "prompt": self.prompt,
            "first": self.first,
            "second": self.second,
        }


@dataclass(frozen=True)
class Answer:
    """What was said of a question: `label` 1 where the first answer is better, 0 where the second
    is, ½ for a tie, None where nothing usable came back (`why` says what did). `cost`: calls and
    tokens.
    """

    question: Question
    label: float | None
    why: str = ""
    cost: dict[str, int] = field(default_factory=dict)

    def line(self, by: str) -> dict[str, Any]:
        """As it stands in labels.jsonl."""
        q = self.question
        return {
            "id": q.id,
            "who": q.who,
            "step": q.step,
            "place": list(q.place),
            "label": self.label,
            "by": by,
            **({"why": self.why[:200]} if self.why else {}),
            **({"cost": self.cost} if self.cost else {}),
        }


@runtime_checkable
class Labeler(Protocol):
    """Answers questions. `name` stands in the record. `waits`: people, who answer later and
    elsewhere.
    """

    name: str
    waits: bool

    def __call__(self, asked: Sequence[Question]) -> Iterator[Answer]: ...


def preference(value: Any, where: str) -> float:
    """A label from what a function returned: a number from 0 (the second is better) to 1 (the
    first), or a word.

    Raises InputError, naming `where`, for anything else: an answer that cannot be read is never
    guessed.
    """
    if isinstance(value, str) and value.strip().lower() in SAID:
        return SAID[value.strip().lower()]
    if isinstance(value, bool) or (hasattr(value, "item") and getattr(value, "ndim", 1) == 0):
        value = float(value.item()) if hasattr(value, "item") else float(value)
    if isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1:
        return float(value)
    raise InputError(
        f"{where} is {str(value)[:40]!r}; a label is 1 or 'first', 0 or 'second', 0.5 or 'tie', "
        "or a number between, the chance that the first is better"
    )


def standing(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The line that holds for each question's id: the last one, unless a person has taken it back
    ("undone").
    """
    said: dict[str, dict[str, Any]] = {}
    for r in rows:
        if "id" in r and r.get("undone"):
            said.pop(r["id"], None)
        elif "id" in r:
            said[r["id"]] = r
    return said
