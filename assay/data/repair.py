"""`assay check --fix`: a copy of a data file that every reader reads as it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.data.canonical import READ_BY_NAME, Form
from assay.data.faults import Faults
from assay.data.items import read_items, size_of, texts_of
from assay.data.kinds import Layout, layout
from assay.data.mending import Damage, Tally, mended, mended_rows
from assay.data.numbers import number
from assay.data.prompt_columns import JOINED
from assay.data.read import Source, open_source
from assay.data.scan import PEEK, Scan, scan_file
from assay.data.writing import new_file, strict
from assay.engine import progress
from assay.engine.atomic import is_free
from assay.errors import InputError

FULL = "half a character (U+FFFD in its place)"
_DONE = {  # what the reader of a row says of it, and what a repair makes of that
    "prompt repeated": "prompt repeated in the completions (removed from them)",
    "messages as text": "messages as text (now messages)",
}


def repair(
    path: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    against: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Write a repaired copy of a data file, and count everything that is changed or left out.

    The copy has the columns prompt, chosen and rejected (with p and margin where they say
    something); prompt, response and the score; prompt and completion, or messages; or prompt.
    Dialogues are lists of messages. Columns that play no part are kept. All that is usable in the
    file reads the same in the copy.

    Args:
        path: A file, a folder that `datasets` saved, or a hub name.
        out: The file to write: JSON lines, gzipped if its name ends in .gz. It appears whole or not
            at all, and is never overwritten.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column's values stand for, such as {1: "first", 0: "second"}.
        split: Which part of a dataset with several.
        score: The numeric column of scored responses.
        limit: Most characters of prompt plus completion; longer rows are left out.
        against: Other files; rows with one of their prompts are left out.

    Returns:
        `file`, `out`, `kind`, `parts` (the copy's columns), `rows` (all that were read), `written`;
        `repaired` and `left_out`, each {kind: {"count": …, "rows": the first ones}}; `renamed`, the
        new names of columns; `kept`, the warnings that the copy still has; and `changed`.

    Raises:
        InputError: The file cannot be opened or understood, nothing of it is usable, or `out`
            exists.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> _ = (folder / "a.csv").write_text("prompt;chosen;rejected\\n2+2;4;5\\n1+1;2;2\\n")
        >>> found = repair(folder / "a.csv", folder / "b.jsonl")
        >>> found["written"], found["left_out"]
        (1, {'chosen equals rejected': {'count': 1, 'rows': [3]}})
    """
    if not is_free(Path(out)):
        raise InputError(f"{out} exists and is never overwritten; give another file with --fix")
    given = open_source(path, split=split)
    whole = replace(given, rows=lambda faults: mended_rows(given.rows(faults)))
    named: dict[str, Any] = {"columns": columns, "label_map": label_map, "tell": False}
    with progress.stage(f"reading {path}"):
        found = scan_file(whole, score=score, limit=limit, drop=True, **named)
        found.faults.stop()
        others = [scan_file(other, **named) for other in against]
    theirs = {prompt for other in others for prompt in other.seen.prompts().tolist()}
    form = _form(found, _WhyNot(limit, theirs))
    work = _Repair(found, form, _WhyNot(limit, theirs))
    still: dict[str, int] = {}

    def check(written: Path) -> None:
        copy = scan_file(written, score=work.form.parts.get("score"), tell=False)
        if copy.faults.errors or copy.layout.parts != work.form.parts:
            raise InputError(
                f"{path}: its copy would be read in another way (as {copy.layout.kind} of "
                f"{', '.join(copy.layout.parts.values())}); rename its other columns"
            )
        still.update(copy.faults.warnings)

    with progress.stage(f"writing {out}"), new_file(out, escaped=False, before=check) as lines:
        for row in work.rows(given):
            lines.write(row)
        if not lines.written:
            left = ", ".join(f"{n:,} × {kind}" for kind, n in work.left.counts.items())
            raise InputError(f"{path}: nothing of it is left to write ({left})")
    return {
        "file": str(path),
        "out": str(out),
        "kind": work.form.kind,
        "parts": work.form.parts,
        "rows": work.read,
        "written": lines.written,
        "repaired": work.done.plain(),
        "left_out": work.left.plain(),
        "renamed": work.form.renamed,
        "kept": still,
        "changed": bool(work.done.counts or work.left.counts or work.form.renamed),
    }


def _form(found: Scan, why_not: _WhyNot) -> Form:
    """Choose the columns of the copy by what the rows say that are written."""
    parts, rows = found.layout.parts, found.source.rows(Faults(found.source.name))
    comparison = found.layout.kind in ("pairs", "choices")
    labelled = comparison and not {"p", "margin", "verdict"}.isdisjoint(parts)
    every = labelled or (comparison and "prompt" not in parts)
    asked, p, margin = True, False, False
    sample = list[tuple[Any, dict[str, Any]]]()
    for i, row in rows:
        faults = Faults("")
        item = read_one(i, row, found.layout, faults)
        if why_not(item, faults):
            continue
        if len(sample) < PEEK:
            sample.append((item, row))
        elif not every:
            break
        if comparison:
            asked &= bool(item.prompt) or item.turns is not None
            p, margin = p or item.p != 1, margin or item.margin != 0
    form = Form.of(found.layout, prompt=asked or "prompt" in parts, p=p, margin=margin)
    return _settled(form, sample, found.layout)


def _settled(form: Form, sample: list[tuple[Any, dict[str, Any]]], found: Layout) -> Form:
    """The form with new names for the kept columns that readers would take for a part."""
    there = {column for _, row in sample for column in row}
    while True:
        free = there - form.used - form.renamed.keys()
        clash = free & set(form.parts.values())
        rows = [{**form.cells(x, row, found), **form.kept(row)} for x, row in sample]
        try:
            read = layout(rows, "", score=form.parts.get("score"))
            clash |= free & (READ_BY_NAME if read.asks else set(read.parts.values()))
        except InputError:
            clash |= free & READ_BY_NAME
        if not clash:
            return form
        form = form.renaming(clash, there)


def read_one(i: int, row: dict[str, Any], found: Layout, faults: Faults) -> Any:
    """The item of one row; None if it has none that can be used."""
    return next(read_items(iter([(i, row)]), found, faults), None)


class _WhyNot:
    """Says of each row in turn why it is left out."""

    def __init__(self, limit: int | None, theirs: set[int]):
        self.limit, self.theirs = limit, theirs
        self._seen: set[int] = set()

    def __call__(self, item: Any, faults: Faults) -> str:
        """Why a row is left out; "" for a row that is written."""
        if item is None:
            every = [*faults.errors, *reversed(faults.warnings)]
            return every[0].removeprefix("left out ") if every else "nothing to use"
        texts = texts_of(item)
        if self.limit is not None and size_of(texts) > self.limit:
            return "longer than the limit"
        if hash(texts[0]) in self.theirs:
            return "prompt of another file"
        if hash(texts) in self._seen:
            return "duplicated row"
        self._seen.add(hash(texts))
        return ""


class _Repair:
    """Makes the rows of the copy, and counts."""

    def __init__(self, found: Scan, form: Form, why_not: _WhyNot):
        self.found, self.form, self.why_not = found, form, why_not
        self.done, self.left, self.read = Tally(), Tally(), 0

    def rows(self, given: Source) -> Iterator[dict[str, Any]]:
        """The rows of the copy."""
        if not given.format.startswith("JSON lines"):
            self.done.add(f"{given.format} (now JSON lines)")
        for part, column in self.form.parts.items():
            old = self.found.layout.parts.get(part)
            if old not in (None, column):
                self.done.add(f"column '{old}' (now '{column}')")
        damage = Damage(given.name, given.line, self.left, self.done)
        for i, row in given.rows(damage):
            self.read += 1
            made = self._row(i, row)
            if made is not None:
                yield made
        self.read += damage.errors.total()

    def _row(self, i: int, raw: dict[str, Any]) -> dict[str, Any] | None:
        """The row's copy; None if it is left out."""
        row, halves = mended(raw)
        faults = Faults("")
        item = read_one(i, row, self.found.layout, faults)
        why = self.why_not(item, faults)
        if why:
            self.left.add(why, i)
            return None
        for bare in (True, False):
            cells = self.form.cells(item, row, self.found.layout, bare=bare)
            if read_one(i, strict(cells), self.form.layout, Faults("")) == item:
                break
        else:
            self.left.add("row that would read in another way", i)
            return None
        kept = self.form.kept(row)
        self._count(i, row, cells, kept, faults, halves)
        return {**cells, **kept}

    def _count(
        self,
        i: int,
        row: dict[str, Any],
        cells: dict[str, Any],
        kept: dict[str, Any],
        faults: Faults,
        halves: int,
    ) -> None:
        """Count what is changed in a row."""
        parts, done = self.found.layout.parts, list[str]()
        if halves:
            self.done.add(FULL, i, halves)
        for what, n in faults.unread.items():
            if n and not what.startswith("column "):
                self.left.add(what, i, n)
        done += [_DONE[kind] for kind in faults.warnings if kind in _DONE]
        if any(part in parts and row.get(parts[part]) for part in JOINED):
            done.append("prompt of several columns (now one)")
        p = number(self.found.layout.get(row, "p"))
        if self.found.layout.kind == "choices":
            done.append("verdict (now chosen and rejected)")
        elif self.form.kind == "pairs" and p is not None and p < 0.5:
            done.append("p below one half (chosen and rejected are exchanged)")
        if self.form.kind == "pairs" and "prompt" in self.form.parts and "prompt" not in parts:
            done.append("prompt inside the completions (now a column)")
        elif not done and any(
            not _same(strict(self.found.layout.get(row, part)), cells[column])
            for part, column in self.form.parts.items()
        ):
            done.append("cell in another form (now as text, messages or a number)")
        if _unlike_json(kept):
            done.append("value that JSON cannot hold (now null or text)")
        for kind in done:
            self.done.add(kind, i)


def _same(cell: Any, written: Any) -> bool:
    """Whether a cell is written as it stood; a truth value is no number here."""
    return bool(cell == written) and isinstance(cell, bool) == isinstance(written, bool)


def _unlike_json(value: Any) -> bool:
    """Whether strict JSON holds something else in a value's place."""
    if isinstance(value, Mapping):
        return any(not isinstance(k, str) or _unlike_json(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return any(map(_unlike_json, value))
    return value is not None and strict(value) != value
