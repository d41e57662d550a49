"""People as labelers: they answer later and elsewhere, on a page or in a sheet, and the run waits.

What was asked stands in the run's `questions.jsonl`, what was answered in `labels.jsonl`; both are
only ever added to. A label that was taken back is a line of its own that says so.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.runs import read_lines, write_lines
from assay.watch.labelers.agreement import agreement
from assay.watch.labelers.questions import SAID, Answer, Question, standing

# ends the id of a question that is asked a second time, its answers the other way round
AGAIN = "-again"


class People:
    """Answers nothing at once. `where`: the run's folder; `again`: the command that goes on with
    the run.
    """

    name, waits = "people", True

    def __init__(self, where: Path, again: str):
        self.cure = (
            f": `assay watch page {where}` shows them, or `assay watch export {where} sheet.csv` "
            f"writes them and `assay watch import {where} sheet.csv` reads them back; then go on "
            f"with `{again}`"
        )

    def __call__(self, asked: Sequence[Question]) -> Iterator[Answer]:
        return iter(())


@dataclass(frozen=True)
class Pair:
    """A question as a person sees it."""

    id: str
    prompt: str
    first: str
    second: str
    line: dict[str, Any]  # of questions.jsonl

    @property
    def again(self) -> bool:
        """Whether it is asked a second time, to see how far labels agree."""
        return self.id.endswith(AGAIN)


class Desk:
    """The questions of a run's folder, and the labels given to them. Every label is on disk before
    `label` returns.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        self.questions = [
            q
            for q in read_lines(self.folder / "questions.jsonl")
            if q["who"] == f"watch {People.name}"
        ]
        if not self.questions:
            raise InputError(
                f"{folder} has no questions for people: start a run that asks them with --watch "
                "csv or --watch page"
            )
        self.labels = self.folder / "labels.jsonl"

    def said(self) -> dict[str, dict[str, Any]]:
        """The line that holds for each id."""
        return standing(read_lines(self.labels))

    def pairs(self, twice: float = 0.0) -> list[Pair]:
        """Every question, and after them a share `twice` of them a second time with its answers the
        other way round. The order is shuffled and the same each time, so that a person can stop and
        go on.
        """
        once = [Pair(q["id"], q["prompt"], q["first"], q["second"], q) for q in self.questions]
        few = [p for p in once if random.Random(f"twice {p.id}").random() < twice]
        again = [Pair(p.id + AGAIN, p.prompt, p.second, p.first, p.line) for p in few]
        return sorted(once, key=lambda p: p.id) + sorted(
            again, key=lambda p: p.id
        )  # an id is a digest: as good as a shuffle

    def waiting(self, twice: float = 0.0) -> list[Pair]:
        """Those that have no label yet."""
        said = self.said()
        return [p for p in self.pairs(twice) if p.id not in said]

    def label(self, pair: Pair, said: str, by: str) -> None:
        """Write down what a person said of a pair: first, second or tie."""
        write_lines(self.labels, [self.line(pair, said, by)])

    def line(self, pair: Pair, said: str, by: str) -> dict[str, Any]:
        """A label as it stands in labels.jsonl."""
        q = pair.line
        return {
            "id": pair.id,
            "who": q["who"],
            "step": q["step"],
            "place": q["place"],
            "label": SAID[said],
            "by": by,
        }

    def undo(self, id: str, by: str) -> None:
        """Take a label back: a line that says so."""
        write_lines(self.labels, [{"id": id, "undone": True, "by": by}])

    def agreement(self, others: dict[str, float] | None = None) -> dict[str, Any]:
        """Of questions that were answered twice (the second time the other way round, or by
        `others`: id → label).
        """
        said = {k: v["label"] for k, v in self.said().items() if v["label"] is not None}
        twice = [
            (said[k.removesuffix(AGAIN)], 1 - v)
            for k, v in said.items()
            if k.endswith(AGAIN) and k.removesuffix(AGAIN) in said
        ]
        return agreement(twice + [(said[k], v) for k, v in (others or {}).items() if k in said])
