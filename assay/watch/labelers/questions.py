"""The nouns of labeling: a Question shows two completions in order, a Label says which is better.

A Question does not say which policy wrote which completion: the order is drawn at random, and only
the watch can undo it. A Labeler yields Labels one by one and in any order, so that each is written
down before the next is paid for.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assay.errors import InputError
from assay.records.lines import plain

CHOICES = {"first": 1.0, "second": 0.0, "tie": 0.5}  # a choice as the value of a label

STAND_INS = ("A short answer.", "Another answer, a little longer.")  # completions of a trial call


@dataclass(frozen=True)
class Question:
    """Which of two completions of one prompt is better?

    Attributes:
        who: Who asks; with step and place, the question's address in the run's ledger.
        step: The training step.
        place: The place within the step.
        prompt: The prompt's text.
        first: The completion that is shown first.
        second: The completion that is shown second.
        columns: The prompt's other columns.
        messages: The prompt as messages, for functions that ask for them; None for one message of
            the user.
        samples: The two completions as the world holds them, in the order shown, for gold that
            reads no text. Never written down.

    Example:
        >>> Question("watch people", 5, (0, 0), "2 + 2?", "4", "5").id
        '8cedc86121df'
    """

    who: str
    step: int
    place: tuple[int, ...]
    prompt: str
    first: str
    second: str
    columns: dict[str, Any] = field(default_factory=dict)
    samples: Any = field(default=None, compare=False)
    messages: list[dict[str, str]] | None = None

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits: a digest of the address and of the texts in their order.

        A label is found by this id, so it is only ever used for the question that was answered.
        """
        parts = "\0".join(
            [self.who, str(self.step), repr(self.place), self.prompt, self.first, self.second]
        )
        return hashlib.blake2b(parts.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()

    def line(self) -> dict[str, Any]:
        """The question as a line of questions.jsonl."""
        shown = self.shown
        return {
            "id": self.id,
            "who": self.who,
            "step": self.step,
            "place": list(self.place),
            "prompt": self.prompt,
            "first": self.first,
            "second": self.second,
            **({"columns": {k: _writable(v) for k, v in shown.items()}} if shown else {}),
        }

    @property
    def shown(self) -> dict[str, Any]:
        """The columns that people are shown: those of the prompts' file."""
        return {name: cell for name, cell in self.columns.items() if name != "row"}


def trial_question(
    prompt: str, columns: dict[str, Any], messages: list[dict[str, str]]
) -> Question:
    """A question with stand-in completions, which a labeler is tried with before a run.

    Args:
        prompt: The first prompt's text.
        columns: Its other columns.
        messages: The same prompt as messages.
    """
    return Question("watch trial", 0, (0,), prompt, *STAND_INS, columns=columns, messages=messages)


@dataclass(frozen=True)
class Label:
    """What a labeler says of a question.

    Attributes:
        question: The question.
        value: 1 if the first completion is better, 0 if the second is, 0.5 for a tie, a number
            between for a chance; None if the labeler gave nothing usable.
        why: Where there is no value, or a tie by contradiction: the reason.
        cost: Calls and tokens, by name.
        more: Whether the same call gave the next label too; those of one call are written down
            together, because they were paid for together.
    """

    question: Question
    value: float | None
    why: str = ""
    cost: dict[str, int] = field(default_factory=dict)
    more: bool = field(default=False, compare=False)

    def line(self, by: str) -> dict[str, Any]:
        """The label as a line of labels.jsonl.

        Args:
            by: The labeler's name.
        """
        q = self.question
        return {
            "id": q.id,
            "who": q.who,
            "step": q.step,
            "place": list(q.place),
            "label": self.value,
            "by": by,
            **({"why": self.why[:200]} if self.why else {}),
            **({"cost": self.cost} if self.cost else {}),
        }


@runtime_checkable
class Labeler(Protocol):
    """Labels questions.

    Attributes:
        name: Stands beside every label in the record.
        waits: True for people, who answer later and elsewhere.
    """

    name: str
    waits: bool

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        """Label the questions, in any order."""
        ...


def _writable(cell: Any) -> Any:
    """A cell as JSON can hold it; dates and the like as text."""
    try:
        return plain(cell)
    except TypeError:
        return str(cell)


def parse_label(value: Any, where: str) -> float:
    """Read a label that a function returned; nothing is guessed.

    Args:
        value: A number from 0 (the second completion is better) to 1 (the first is), of Python,
            numpy or torch; a bool; or first, second or tie.
        where: Names the value in the error message.

    Returns:
        The label's value, from 0 to 1.

    Raises:
        InputError: `value` is anything else.

    Example:
        >>> parse_label("tie", "label 1"), parse_label(True, "label 2")
        (0.5, 1.0)
    """
    if isinstance(value, str) and value.strip().lower() in CHOICES:
        return CHOICES[value.strip().lower()]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()  # numpy's and torch's numbers
    if isinstance(value, (bool, int, float)) and math.isfinite(value) and 0 <= value <= 1:
        return float(value)
    raise InputError(
        f"{where} is {str(value)[:40]!r}; a label is 1 or 'first', 0 or 'second', 0.5 or 'tie', "
        "or a number between, the chance that the first is better"
    )


def current_labels(lines: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The line of labels.jsonl that counts for each question.

    Args:
        lines: The file's lines in order.

    Returns:
        By question id, its last line; a label that was taken back ("undone") is left out.

    Raises:
        InputError: A line says neither.
    """
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        if "id" in line and line.get("undone"):
            found.pop(line["id"], None)
        elif "id" in line:
            if "label" not in line:
                raise InputError(
                    f"labels.jsonl has a line of question {line['id']!r:.60} with neither a label "
                    "nor undone; repair or delete that line"
                )
            found[line["id"]] = line
    return found
