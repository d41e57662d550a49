"""Questions as a CSV file that people fill in, and back: one pair a row, blinded, in an order that
says nothing.

A cell that a spreadsheet would take for a formula begins with an apostrophe, which is taken off
nowhere: the sheet is for reading, and what comes back are ids and labels alone. Control characters
are spelled out, so that an answer cannot move a terminal's cursor or hide in a cell.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from assay.data.escape import visible
from assay.errors import InputError
from assay.records.runs import write_lines
from assay.registry.catalogue import nearest
from assay.watch.labelers.people import Desk, Pair

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


def cell(text: str) -> str:
    """A text as a spreadsheet may show it: hidden characters spelled out, and nothing that begins
    like a formula.
    """
    shown = visible(text.replace("\r\n", "\n"))
    return (
        f"'{shown}" if shown.lstrip()[:1] in tuple("=+-@＝＋－＠") or shown[:1] == "\t" else shown
    )


def export(folder: Path | str, path: Path | str, *, twice: float = 0.1) -> int:
    """Write the pairs that wait for a label; the column `better` is to be filled in with 1, 2 or =.
    How many there are.

    Raises InputError where the file is there already (people may have written in it), or nothing
    waits.
    """
    path, desk = Path(path), Desk(folder)
    if not 0 <= twice <= 1:
        raise InputError(
            f"--twice is {twice}; it is the share of pairs asked a second time, from 0 to 1"
        )
    waiting = desk.waiting(twice)
    if not waiting:
        raise InputError(f"nothing in {folder} waits for a label")
    if path.exists():
        raise InputError(f"{path} exists, and somebody may have written in it: give another file")
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with open(
        fresh, "w", newline="", encoding="utf-8-sig", errors="backslashreplace"
    ) as f:  # the mark is for spreadsheets
        rows = csv.writer(f)
        rows.writerow(COLUMNS)
        rows.writerows([p.id, cell(p.prompt), cell(p.first), cell(p.second), ""] for p in waiting)
    os.replace(fresh, path)
    return len(waiting)


def read(path: Path | str, pairs: dict[str, Pair]) -> dict[str, str]:
    """What a sheet says of each id, rows left empty left out. Raises InputError with line and
    column for anything odd: nothing is read of a sheet that has a fault.
    """
    path = Path(path)
    found: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as f:
            rows = csv.DictReader(f, strict=True)
            names = rows.fieldnames or ()
            for column in ("id", "better"):
                if column not in names:
                    raise InputError(
                        f"{path} has no column '{column}'{nearest(column, list(names))}; its "
                        f"columns are {', '.join(map(visible, names)) or 'none'}"
                    )
            for row in rows:
                id, word = (row["id"] or "").strip(), (row["better"] or "").strip().lower()
                at = f"{path}, line {rows.line_num}"
                if not id and not word:
                    continue
                if id not in pairs:
                    raise InputError(
                        f"{at}, column 'id' holds '{visible(id[:40])}', which is no question of "
                        "this run; take the sheet that `assay watch export` wrote for it"
                    )
                if word and word not in WORDS:
                    raise InputError(
                        f"{at}, column 'better' holds '{visible(word[:40])}'; write 1 or first, 2 "
                        "or second, = or tie, or leave it empty"
                    )
                if word and found.get(id, WORDS[word]) != WORDS[word]:
                    raise InputError(
                        f"{at}, column 'id' holds {id} a second time, with another answer; keep "
                        "one of the two"
                    )
                if word:
                    found[id] = WORDS[word]
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


def load(folder: Path | str, path: Path | str, *, by: str = "") -> dict[str, Any]:
    """Take a sheet's labels into the run's ledger, all at once. What was labeled before stays as it
    is, and says how far this sheet agrees with it.
    """
    desk = Desk(folder)
    pairs = {p.id: p for p in desk.pairs(1.0)}
    found = read(path, pairs)
    before = desk.said()
    fresh = {k: v for k, v in found.items() if k not in before}
    if fresh:
        write_lines(
            desk.labels, [desk.line(pairs[k], v, by or Path(path).name) for k, v in fresh.items()]
        )
    values = {"first": 1.0, "second": 0.0, "tie": 0.5}
    others = {k: values[v] for k, v in found.items() if k in before}
    return {
        "read": len(found),
        "new": len(fresh),
        "known": len(others),
        "waiting": len(desk.waiting()),
        "agreement": desk.agreement(others),
    }
