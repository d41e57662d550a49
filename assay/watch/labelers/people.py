"""People as labelers: they answer later and elsewhere, on a page or in a sheet, and the run waits.

`questions.jsonl` holds what was asked and `labels.jsonl` what was answered; both are only ever
appended to. A label that is taken back is a line of its own that says so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.engine.reserved import Reserved, reserving
from assay.errors import InputError
from assay.records.checks import LABELS, QUESTIONS, READINGS
from assay.records.lines import write_lines
from assay.watch.labelers.agreement import agreement
from assay.watch.labelers.questions import CHOICES, Label, Question, current_labels

AGAIN = "-again"  # ends the id of a question that is shown a second time in the other order


class People:
    """A labeler that answers nothing at once; `cure` says where people answer.

    Args:
        folder: The run's folder.
        again: The command that goes on with the run.
    """

    name, waits = "people", True

    def __init__(self, folder: Path, again: str):
        self.cure = (
            f": `assay watch page {folder}` shows them, or `assay watch export {folder} sheet.csv` "
            f"writes them and `assay watch import {folder} sheet.csv` reads them back; then go on "
            f"with `{again}`"
        )

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        """No label yet."""
        return iter(())


def for_people(question: Mapping[str, Any]) -> bool:
    """Whether a line of questions.jsonl asks people."""
    return bool(question["who"] == f"watch {People.name}")


@dataclass(frozen=True)
class ShownPair:
    """A question as a person sees it.

    Attributes:
        id: The question's id, with `AGAIN` at its end where it is shown a second time.
        prompt: The prompt.
        first: The completion that is shown first.
        second: The completion that is shown second.
        line: The question's line in questions.jsonl.
    """

    id: str
    prompt: str
    first: str
    second: str
    line: dict[str, Any]

    @property
    def columns(self) -> dict[str, str]:
        """The prompt's other columns as text, as far as they hold something."""
        found = self.line.get("columns") or {}
        return {str(k): str(v) for k, v in found.items() if v is not None and str(v).strip()}

    @property
    def again(self) -> bool:
        """Whether it is shown a second time, to measure agreement."""
        return self.id.endswith(AGAIN)


class LabelStore:
    """The questions of a run's folder and their labels. A label is on disk before `label` returns.

    Args:
        folder: The run's folder.

    Raises:
        InputError: The run has no questions for people.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        asked = QUESTIONS.read(self.folder)
        self.questions = [q for q in asked if for_people(q)]
        if not self.questions:
            others = sorted({q["who"].removeprefix("watch ") for q in asked})
            raise InputError(
                f"{folder} has no questions for people"
                + (f" ({', '.join(others)} labeled it)" if others else "")
                + ": start a run that asks them with --watch csv or --watch page"
            )
        self.labels = self.folder / "labels.jsonl"

    def current(self) -> dict[str, dict[str, Any]]:
        """The line of labels.jsonl that counts for each id."""
        return current_labels(LABELS.read(self.folder))

    def pairs(self, twice: float = 0.0) -> list[ShownPair]:
        """Every question, and after them some a second time in the other order.

        Ids are digests, so their order says nothing and is the same each time: a person can stop
        and go on.

        Args:
            twice: The share that is shown a second time, from 0 to 1.
        """
        once = [ShownPair(q["id"], q["prompt"], q["first"], q["second"], q) for q in self.questions]
        few = [p for p in once if random.Random(f"twice {p.id}").random() < twice]
        again = [ShownPair(p.id + AGAIN, p.prompt, p.second, p.first, p.line) for p in few]
        return sorted(once, key=lambda p: p.id) + sorted(again, key=lambda p: p.id)

    def waiting(self, twice: float = 0.0) -> list[ShownPair]:
        """The pairs without a label; `twice` as in `pairs`."""
        current = self.current()
        return [p for p in self.pairs(twice) if p.id not in current]

    def judged(self) -> int:
        """The last step of which a verdict is in the record, −1 before the first: labels up to
        there have been used.
        """
        read = READINGS.read(self.folder)
        return max((int(r["step"]) for r in read if r["watch"]), default=-1)

    def label(self, pair: ShownPair, choice: str, by: str) -> None:
        """Write down what a person says of a pair.

        Args:
            pair: The pair.
            choice: first, second or tie.
            by: Who says so.
        """
        write_lines(self.labels, [self.line(pair, choice, by)])

    def line(self, pair: ShownPair, choice: str, by: str) -> dict[str, Any]:
        """See `label`: the same label as a line of labels.jsonl."""
        q = pair.line
        return {
            "id": pair.id,
            "who": q["who"],
            "step": q["step"],
            "place": q["place"],
            "label": CHOICES[choice],
            "by": by,
        }

    def undo(self, id: str, by: str) -> None:
        """Take a label back, by a line that says so."""
        write_lines(self.labels, [{"id": id, "undone": True, "by": by}])

    def agreement(self, others: dict[str, float] | None = None) -> dict[str, Any]:
        """How far labels agree that were given twice.

        Args:
            others: Further labels by question id, of another person.

        Returns:
            See `assay.watch.labelers.agreement.agreement`.
        """
        given = {k: v["label"] for k, v in self.current().items() if v["label"] is not None}
        twice = [
            (given[k.removesuffix(AGAIN)], 1 - v)
            for k, v in given.items()
            if k.endswith(AGAIN) and k.removesuffix(AGAIN) in given
        ]
        return agreement(twice + [(given[k], v) for k, v in (others or {}).items() if k in given])


def labeling(store: LabelStore) -> AbstractContextManager[Reserved]:
    """Let no other process take people's labels for a run: neither a page nor a sheet.

    Args:
        store: The run's questions and labels.

    Returns:
        What holds them while its block runs. It raises InputError where another process has them.
    """
    return reserving(store.labels, elsewhere="end it there (Ctrl-C ends a page)")
