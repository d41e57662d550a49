"""Questions as a CSV file that people fill in, and back: one pair a row, blinded and shuffled.

A cell that a spreadsheet would take for a formula begins with an apostrophe, which stays: the sheet
is for reading, and only ids and labels come back. Control characters are spelled out, so that a
completion cannot move a terminal's cursor or hide in a cell.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from assay.engine.atomic import creating, is_free
from assay.errors import InputError
from assay.records.lines import write_lines
from assay.registry.catalogue import nearest
from assay.safe_text import cell, uncelled, visible
from assay.watch.labelers.people import LabelStore, ShownPair, labeling
from assay.watch.labelers.questions import CHOICES

COLUMNS = ("id", "prompt", "first", "second", "better")
WORDS = {
    "1": "first",
    "first": "first",
    "2": "second",
    "second": "second",
    "=": "tie",
    "tie": "tie",
    "0": "tie",
}


def export(folder: Path | str, path: Path | str, *, twice: float = 0.1) -> int:
    """Write the pairs that wait for a label; people fill in the column `better` with 1, 2 or =.

    Args:
        folder: The run's folder.
        path: The CSV file to write; it must not exist.
        twice: The share of pairs that is asked a second time, from 0 to 1.

    Returns:
        How many pairs were written.

    Raises:
        InputError: The file exists (people may have written in it), or no pair waits.
    """
    path, store = Path(path), LabelStore(folder)
    if not 0 <= twice <= 1:
        raise InputError(
            f"--twice is {twice}; it is the share of pairs asked a second time, from 0 to 1"
        )
    waiting = store.waiting(twice)
    if not waiting:
        raise InputError(f"nothing in {folder} waits for a label")
    if not is_free(path):
        raise InputError(f"{path} exists, and somebody may have written in it: give another file")
    with (
        creating(path) as fresh,
        # utf-8-sig: spreadsheets need the mark
        open(fresh, "w", newline="", encoding="utf-8-sig", errors="backslashreplace") as f,
    ):
        rows = csv.writer(f)
        beside = list(dict.fromkeys(name for p in waiting for name in p.columns))
        rows.writerow([*COLUMNS, *(cell(f"prompt: {name}") for name in beside)])
        rows.writerows(
            [cell(p.id), cell(p.prompt), cell(p.first), cell(p.second), ""]
            + [cell(p.columns.get(name, "")) for name in beside]
            for p in waiting
        )
    return len(waiting)


def read(path: Path | str, pairs: dict[str, ShownPair]) -> dict[str, str]:
    """What a sheet says of each pair.

    Args:
        path: The CSV file.
        pairs: The run's pairs by id.

    Returns:
        first, second or tie by id; rows that were left empty are left out.

    Raises:
        InputError: Anything in the sheet is at fault, with line and column; then nothing is read.
    """
    path = Path(path)
    found: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            rows = csv.DictReader(f, strict=True)
            _check_columns(path, list(rows.fieldnames or ()))
            for row in rows:
                at = f"{path}, line {rows.line_num}"
                _read_row(row, at, pairs, found)
    except UnicodeDecodeError as why:
        raise InputError(
            f"{path} is not UTF-8 text (byte {why.start}): save the sheet as CSV UTF-8"
        ) from why
    except csv.Error as why:
        raise InputError(
            f"{path}, line {rows.line_num + 1} is not CSV ({why}): save the sheet as CSV with "
            "commas"
        ) from why
    return found


def _check_columns(path: Path, names: list[str]) -> None:
    for column in ("id", "better"):
        if column not in names:
            raise InputError(
                f"{path} has no column '{column}'{nearest(column, names)}; its columns are "
                f"{', '.join(map(visible, names)) or 'none'}"
            )


def _read_row(
    row: dict[str, Any], at: str, pairs: dict[str, ShownPair], found: dict[str, str]
) -> None:
    """Add one row's choice to `found`."""
    id = uncelled((row["id"] or "").strip())
    word = uncelled((row["better"] or "").strip()).lower()
    if not id and not word:
        return
    if id not in pairs:
        raise InputError(
            f"{at}, column 'id' holds '{visible(id[:40])}', which is no question of this run; take "
            "the sheet that `assay watch export` wrote for it"
        )
    if word and word not in WORDS:
        raise InputError(
            f"{at}, column 'better' holds '{visible(word[:40])}'; write 1 or first, 2 or second, = "
            "or tie, or leave it empty"
        )
    if word and found.get(id, WORDS[word]) != WORDS[word]:
        raise InputError(
            f"{at}, column 'id' holds {id} a second time, with another answer; keep one of the two"
        )
    if word:
        found[id] = WORDS[word]


def load(folder: Path | str, path: Path | str, *, by: str = "") -> dict[str, Any]:
    """Take a sheet's labels into the run, all at once.

    A pair that another person labeled keeps that label, and the two are compared. Where the same
    person's sheet holds another label than before, it is a correction: it counts, unless a verdict
    has used the earlier one.

    Args:
        folder: The run's folder.
        path: The CSV file.
        by: Who filled it in; the file's name if empty.

    Returns:
        read, new, corrected, used, known, waiting: counts of pairs. used: corrections that came
        too late; known: labels that others gave before, or that this sheet gave before.
        agreement: how far the sheet agrees with the labels of others.

    Raises:
        InputError: See `read`; or another process takes labels for this run.
    """
    store = LabelStore(folder)
    with labeling(store):
        return _taken_in(store, Path(path), by)


def _taken_in(store: LabelStore, path: Path, by: str) -> dict[str, Any]:
    """See `load`; no other process adds labels meanwhile."""
    pairs = {p.id: p for p in store.pairs(1.0)}
    found, before = read(path, pairs), store.current()
    who, judged = by or path.name, store.judged()
    fresh = [k for k in found if k not in before]
    others = {k: CHOICES[v] for k, v in found.items() if k in before and before[k]["by"] != who}
    changed = [
        k
        for k, v in found.items()
        if k in before and k not in others and before[k]["label"] != CHOICES[v]
    ]
    mended = [k for k in changed if pairs[k].line["step"] > judged]
    if fresh or mended:
        lines = [store.line(pairs[k], found[k], who) for k in (*fresh, *mended)]
        write_lines(store.labels, lines)
    return {
        "read": len(found),
        "new": len(fresh),
        "corrected": len(mended),
        "used": len(changed) - len(mended),
        "known": len(found) - len(fresh) - len(changed),
        "waiting": len(store.waiting()),
        "agreement": store.agreement(others),
    }
