"""Labels that a recipe or the watch buys. Each is on disk before it is used, so that a resumed run
pays for none twice.

`labels.jsonl` is only ever appended to. A label is found by who asked, at which step and for which
place; a label of the watch also by a digest of its question, so that it is never used for another.
`questions.jsonl` holds what was asked. People answer in a file or on a page, perhaps tomorrow;
until then the run waits (exit code 3).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Samples
from assay.engine import progress
from assay.engine.atomic import write_bytes
from assay.engine.parallel import meter, rank, same_everywhere, world_size
from assay.errors import InputError, Waiting
from assay.records.checks import LABELS, QUESTIONS
from assay.records.lines import write_lines
from assay.safe_text import cell, uncelled, visible
from assay.watch.labelers.questions import Label, Labeler, Question, current_labels

Key = tuple[str, int, int, int]
COLUMNS = ("id", "prompt", "completion", "label")


class Ledger:
    """The labels of one run.

    Args:
        folder: The run's folder; None keeps labels in memory.
        gold: `gold(samples) → [B,N]`, which labels what a recipe asks; None if the world has none.
        sheet: A CSV file in which people label what a recipe asks, in place of `gold`.
    """

    def __init__(
        self,
        folder: Path | None,
        gold: Callable[[Samples], Tensor] | None,
        sheet: Path | None = None,
    ):
        self.path = None if folder is None else folder / "labels.jsonl"
        self.gold, self.sheet = gold, sheet
        rows = [] if folder is None else LABELS.read(folder)
        self.known: dict[Key, float] = {
            (r["who"], r["step"], *r["place"]): r["label"] for r in rows if "id" not in r
        }
        self.labels = current_labels(rows)

    def __call__(self, who: str, step: int, samples: Samples) -> Float[Tensor, "B N"]:
        """Label every completion that is present. Each is counted, whenever it was paid for.

        Args:
            who: Who asks.
            step: The present step.
            samples: The completions.

        Returns:
            Labels, 0 where a completion is absent.

        Raises:
            Waiting: People have yet to label some in the sheet.
            InputError: There is no labeler, or a label is not a finite number.
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

    def compare(
        self, questions: Sequence[Question], labeler: Labeler
    ) -> list[dict[str, Any] | None]:
        """The line of labels.jsonl for each question; only the first process asks.

        Each label is on disk before it is used, and before the next one is asked for.

        Args:
            questions: What to ask; a question that was answered before is not asked again.
            labeler: Whom to ask.

        Returns:
            One line for each question.

        Raises:
            Waiting: People have yet to answer, or the labeler gave no label to any of several
                questions.
        """
        wanted = [q for q in questions if q.id not in self.labels]
        failed: BaseException | None = None
        if wanted and rank() == 0:
            try:
                self._buy(wanted, labeler)
            except BaseException as why:  # raised below, when the other processes know
                failed = why
        if wanted and world_size() > 1:
            told = same_everywhere(
                torch.tensor(
                    [float(failed is not None)] + [_coded(self.labels.get(q.id)) for q in wanted]
                )
            )
            if rank() > 0 and told[0]:
                failed = Waiting("the first process got no labels; it says why")
            for q, code in zip(wanted, told[1:].tolist()):
                if rank() > 0 and code < 2:
                    self.labels[q.id] = {"id": q.id, "label": None if code < 0 else code}
        if failed is not None:
            raise failed
        meter.add("labels", len(questions))
        return [self.labels.get(q.id) for q in questions]

    def _buy(self, wanted: Sequence[Question], labeler: Labeler) -> None:
        """Ask, and write each label down as it comes, those of one call together.

        Questions without a usable answer are written last, and only if another got a label: if none
        did, the labeler is broken, and they are asked again when the run goes on.
        """
        if self.path is not None:
            path = self.path.with_name("questions.jsonl")
            known = {line["id"] for line in QUESTIONS.read(path.parent)}
            write_lines(path, [q.line() for q in wanted if q.id not in known])
        without: list[Label] = []
        asking = progress.over(labeler(wanted), f"asking {labeler.name}", "labels", len(wanted))
        found: list[Label] = []
        for label in asking:
            (without if label.value is None else found).append(label)
            if not label.more:
                self._write(found, labeler.name)
                found = []
        if len(without) == len(wanted) > 1:
            raise Waiting(
                f"{labeler.name} gave no label to any of {len(wanted)} questions (the last: "
                f"{without[-1].why}); mend it and go on with --resume"
            )
        self._write(without, labeler.name)
        waiting = sum(q.id not in self.labels for q in wanted)
        if waiting:
            raise Waiting(f"{waiting} pairs wait for a label{getattr(labeler, 'cure', '')}")

    def _write(self, labels: Iterable[Label], by: str) -> None:
        lines = [label.line(by) for label in labels]
        if self.path is not None and lines:
            write_lines(self.path, lines)
        self.labels |= {line["id"]: line for line in lines}

    def _at_once(self, wanted: list[Key], samples: Samples) -> dict[Key, float]:
        if self.gold is None:
            raise InputError(
                "this recipe asks for gold labels, and this world has no gold; name a CSV file "
                "that people fill in with --labels"
            )
        labels = self.gold(samples)
        found = {k: float(labels[k[2], k[3]]) for k in wanted}
        bad = [k for k, v in found.items() if not math.isfinite(v)]
        if bad:
            _, at, b, n = bad[0]
            raise InputError(
                f"gold gave {found[bad[0]]} for completion {n} of prompt {b} at step {at}; "
                "a label is a finite number"
            )
        return found

    def _from_people(self, wanted: list[Key], samples: Samples) -> dict[Key, float]:
        assert self.sheet is not None
        given = read_sheet(self.sheet) if self.sheet.exists() else {}
        names = {k: visible("/".join(map(str, k))) for k in wanted}  # as they stand in the sheet
        fresh = [k for k in wanted if names[k] not in given]
        if fresh and rank() == 0:
            prompts, texts = samples.prompts.text(), samples.text()
            _append(self.sheet, [(names[k], prompts[k[2]], texts[k[2]][k[3]], "") for k in fresh])
        empty = [k for k in wanted if given.get(names[k]) is None]
        if empty:
            raise Waiting(
                f"{len(empty)} completions wait for a label in {self.sheet}: fill in the column "
                "'label' with numbers, higher is better, and go on with --resume"
            )
        return {k: float(given[names[k]]) for k in wanted}  # type: ignore[arg-type]


def _coded(line: dict[str, Any] | None) -> float:
    """A label as a number for the other processes: −1 without a value, 2 without an answer."""
    return 2.0 if line is None else -1.0 if line["label"] is None else float(line["label"])


def read_sheet(path: Path) -> dict[str, float | None]:
    """The labels in a sheet.

    Args:
        path: The CSV file.

    Returns:
        A number by id; None where none was filled in.

    Raises:
        InputError: A column is missing, or a label is not a number, with line and column.
    """
    out: dict[str, float | None] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            rows = csv.DictReader(f)
            lacking = [c for c in ("id", "label") if c not in (rows.fieldnames or ())]
            if lacking:
                raise InputError(
                    f"{path} has no column '{lacking[0]}'; its columns are "
                    f"{', '.join(rows.fieldnames or ()) or 'none'}"
                )
            for row in rows:
                value = _filled_in(row["label"] or "", f"{path}, line {rows.line_num}")
                out[uncelled(row["id"] or "")] = value
    except UnicodeDecodeError as why:
        raise InputError(
            f"{path} is not UTF-8 text (byte {why.start}): save the sheet as CSV UTF-8"
        ) from why
    except csv.Error as why:
        raise InputError(f"{path} is not CSV ({why}): save the sheet as CSV with commas") from why
    return out


def _filled_in(found: str, where: str) -> float | None:
    """The number in a cell; None where it is empty."""
    text = uncelled(found.strip())
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not math.isfinite(value):
        raise InputError(
            f"{where}, column 'label' holds '{text[:40]}'; write a number or leave it empty"
        )
    return value


def _append(path: Path, rows: list[tuple[str, str, str, str]]) -> None:
    """Add rows to a sheet in the order of its columns; what people wrote is never touched.

    The sheet is replaced as a whole, so that a kill leaves no half of a row in it, and a row that
    stands last without a line end keeps its own line.
    """
    before = path.read_bytes() if path.exists() else b""
    header = next(csv.reader(before.decode("utf-8-sig").splitlines()), None) if before else None
    added = io.StringIO(newline="")
    sheet = csv.writer(added)
    if header is None:
        sheet.writerow(COLUMNS)
    elif not before.endswith(b"\n"):
        added.write("\r\n")
    for row in rows:
        cells = {name: cell(text) for name, text in zip(COLUMNS, row)}
        sheet.writerow([cells.get(name, "") for name in header or COLUMNS])
    write_bytes(path, before + added.getvalue().encode("utf-8", "backslashreplace"))
