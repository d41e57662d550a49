"""Labels that a recipe or the watch buys: written down before they are used, so that no resumed run
pays twice.

`labels.jsonl` is append-only and never cut. A label is found again by who asked, at which step, for
which place; one that the watch asked for also by a digest of the question, so that it is never used
for another. What was asked stands in `questions.jsonl`. People answer in a file or on a page,
perhaps tomorrow: until then the run waits (exit code 3).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.engine.parallel import meter, rank, same_everywhere, world_size
from assay.errors import InputError, Waiting
from assay.records.runs import read_lines, write_lines
from assay.watch.labelers.questions import Answer, Labeler, Question, standing

Key = tuple[str, int, int, int]
COLUMNS = ("id", "prompt", "answer", "label")


class Ledger:
    """`labeler(samples) → [B,N]` answers at once; with `sheet`, people answer in that CSV file
    instead.
    """

    def __init__(
        self,
        folder: Path | None,
        labeler: Callable[[Samples], Tensor] | None,
        sheet: Path | None = None,
    ):
        self.path = None if folder is None else folder / "labels.jsonl"
        self.labeler, self.sheet = labeler, sheet
        rows = [] if self.path is None else read_lines(self.path)
        self.known: dict[Key, float] = {
            (r["who"], r["step"], *r["place"]): r["label"] for r in rows if "id" not in r
        }
        self.said = standing(rows)

    def __call__(self, who: str, step: int, samples: Samples) -> Float[Tensor, "B N"]:
        """Labels of every present answer, 0 where absent; each is counted, whenever it was paid
        for.
        """
        here = samples.present
        keys: list[Key] = [(who, step, b, n) for b, n in here.nonzero().tolist()]
        wanted = [k for k in keys if k not in self.known]
        if wanted:
            found = (
                self._from_people(wanted, samples)
                if self.sheet is not None
                else self._at_once(wanted, samples)
            )
            if self.path is not None and rank() == 0:
                write_lines(
                    self.path,
                    [
                        {"who": k[0], "step": k[1], "place": [k[2], k[3]], "label": v}
                        for k, v in found.items()
                    ],
                )
            self.known |= found
        meter.add("labels", len(keys))
        out = samples.logp.new_zeros(here.shape)
        out[here] = torch.tensor([self.known[k] for k in keys], dtype=out.dtype, device=out.device)
        return out

    def compare(self, asked: Sequence[Question], labeler: Labeler) -> list[dict[str, Any] | None]:
        """The line of labels.jsonl that answers each question, None where nobody has; only the
        first process asks.

        Each label is on disk before it is used, and before the next one is asked for. Raises
        Waiting where people have yet to answer, and where a labeler gave nothing at all to any of
        several questions.
        """
        wanted = [q for q in asked if q.id not in self.said]
        failed: BaseException | None = None
        if wanted and rank() == 0:
            try:
                self._buy(wanted, labeler)
            except BaseException as why:  # raised below, when the other processes know
                failed = why
        if wanted and world_size() > 1:
            told = same_everywhere(
                torch.tensor(
                    [float(failed is not None)] + [_coded(self.said.get(q.id)) for q in wanted]
                )
            )
            if rank() > 0 and told[0]:
                failed = Waiting("the first process got no labels; it says why")
            for q, code in zip(wanted, told[1:].tolist()):
                if rank() > 0 and code < 2:
                    self.said[q.id] = {"id": q.id, "label": None if code < 0 else code}
        if failed is not None:
            raise failed
        meter.add("labels", len(asked))
        return [self.said.get(q.id) for q in asked]

    def _buy(self, wanted: Sequence[Question], labeler: Labeler) -> None:
        """Ask, and write each label down as it comes. What got none is written last, and only if
        something got one: else the labeler is broken, and is asked again when the run goes on.
        """
        if self.path is not None:
            asked = self.path.with_name("questions.jsonl")
            there = {r["id"] for r in read_lines(asked)}
            write_lines(asked, [q.line() for q in wanted if q.id not in there])
        without: list[Answer] = []
        for answer in labeler(wanted):
            if answer.label is None:
                without.append(answer)
            else:
                self._write([answer], labeler.name)
        if len(without) == len(wanted) > 1:
            raise Waiting(
                f"{labeler.name} gave no label to any of {len(wanted)} questions (the last: "
                f"{without[-1].why}); mend it and go on with --resume"
            )
        self._write(without, labeler.name)
        out = sum(q.id not in self.said for q in wanted)
        if out:
            raise Waiting(
                f"{out} pairs of answers wait for a judgement{getattr(labeler, 'cure', '')}"
            )

    def _write(self, answers: Iterable[Answer], by: str) -> None:
        lines = [a.line(by) for a in answers]
        if self.path is not None and lines:
            write_lines(self.path, lines)
        self.said |= {line["id"]: line for line in lines}

    def _at_once(self, wanted: list[Key], samples: Samples) -> dict[Key, float]:
        if self.labeler is None:
            raise InputError(
                "this recipe asks for gold labels and this world has nobody to give them; "
                "name a CSV file that people fill in with --labels"
            )
        labels = self.labeler(samples)
        found = {k: float(labels[k[2], k[3]]) for k in wanted}
        bad = [k for k, v in found.items() if not math.isfinite(v)]
        if bad:
            _, at, b, n = bad[0]
            raise InputError(
                f"the labeler gave {found[bad[0]]} for answer {n} of prompt {b} at step {at}; "
                "a label is a finite number"
            )
        return found

    def _from_people(self, wanted: list[Key], samples: Samples) -> dict[Key, float]:
        assert self.sheet is not None
        given = read_sheet(self.sheet) if self.sheet.exists() else {}
        names = {k: "/".join(map(str, k)) for k in wanted}
        fresh = [k for k in wanted if names[k] not in given]
        if fresh and rank() == 0:
            prompts, texts = samples.prompts.text(), samples.text()
            _append(self.sheet, [(names[k], prompts[k[2]], texts[k[2]][k[3]], "") for k in fresh])
        empty = [k for k in wanted if given.get(names[k]) is None]
        if empty:
            raise Waiting(
                f"{len(empty)} answers wait for a label in {self.sheet}: fill in the column "
                "'label' with numbers, higher is better, and go on with --resume"
            )
        return {k: float(given[names[k]]) for k in wanted}  # type: ignore[arg-type]


def _coded(line: dict[str, Any] | None) -> float:
    """A label as a number for the other processes: −1 without a verdict, 2 where nobody has
    answered.
    """
    return 2.0 if line is None else -1.0 if line["label"] is None else float(line["label"])


def read_sheet(path: Path) -> dict[str, float | None]:
    """A sheet's labels by id, None where not filled in. Raises InputError with line and column
    where one is no number.
    """
    out: dict[str, float | None] = {}
    with open(path, newline="", encoding="utf-8-sig") as f:
        rows = csv.DictReader(f)
        lacking = [c for c in ("id", "label") if c not in (rows.fieldnames or ())]
        if lacking:
            raise InputError(
                f"{path} has no column '{lacking[0]}'; its columns are "
                f"{', '.join(rows.fieldnames or ()) or 'none'}"
            )
        for row in rows:
            text = (row["label"] or "").strip()
            try:
                value = float(text) if text else None
            except ValueError:
                value = math.nan
            if value is not None and not math.isfinite(value):
                raise InputError(
                    f"{path}, line {rows.line_num}, column 'label' holds '{text[:40]}'; "
                    "write a number or leave it empty"
                )
            out[row["id"]] = value
    return out


def _append(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    """New rows at the end; what people wrote is never touched. A leading =, +, − or @ would be a
    formula to a spreadsheet.
    """
    fresh = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as f:
        sheet = csv.writer(f)
        if fresh:
            sheet.writerow(COLUMNS)
        for row in rows:
            sheet.writerow(
                [f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell for cell in row]
            )
