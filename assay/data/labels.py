"""Read the label column of a whole file before its rows: on which scale it is, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.label_map import LabelMap, label_map
from assay.data.numbers import is_truth, number, plain
from assay.data.read import Source
from assay.data.scale import DROPPED, Scale, Vote
from assay.data.scales import HELPSTEER, Column, Reading, known_source, scale_of
from assay.data.score_column import SCORE
from assay.data.verdict_words import of_word
from assay.errors import InputError


def labelled(
    found: Layout,
    source: Source,
    given: Mapping[Any, Any] | None = None,
    faults: Faults | None = None,
) -> Layout:
    """Decide how a file's label column is read; all its rows are read for it where needed.

    Args:
        found: The file's layout.
        source: The file.
        given: What the values stand for, as the user says it.
        faults: Counts a map that this file has no use for as a warning; None makes it an error.

    Returns:
        The layout with its scale; as it was for a file without a label column.

    Raises:
        InputError: The file leaves open how its labels are read, or the map cannot be used.
    """
    found = _mapped_words(found, given)
    if found.asks:
        raise InputError(found.asks)
    if found.kind == "scored" and "score" in found.parts:
        return replace(found, scale=_scores(found.parts["score"], label_map(given, scores=True)))
    if found.kind == "choices" and "verdict_second" not in found.parts:
        return replace(found, scale=_choices(found, source, label_map(given)))
    if given:
        held = "one column for each outcome" if found.kind == "choices" else found.kind
        why = f"it holds {held} ({', '.join(found.parts.values())}) and no column of labels"
        if faults is None:
            raise InputError(f"{source.name}: {why}; leave --label-map out")
        faults.warn("label map not used", None, None, why, "leave --label-map out")
    return replace(found, scale=_outcomes(found)) if found.kind == "choices" else found


def _mapped_words(found: Layout, given: Mapping[Any, Any] | None) -> Layout:
    """Read a known score column of words, for which the user has given numbers."""
    if not given or "response" not in found.parts or "score" in found.parts:
        return found
    words = [c for c in SCORE if c in found.others and c not in found.numeric]
    if len(words) != 1:
        return found
    others = tuple(c for c in found.others if c != words[0])
    parts = {**found.parts, "score": words[0]}
    return replace(found, kind="scored", parts=parts, others=others, asks="")


def _choices(found: Layout, source: Source, by: LabelMap | None) -> Scale:
    """The scale of a verdict's column."""
    names = found.parts
    c = Column(source.name, names["verdict"], names["first"], names["second"])
    reading = known_source(c)
    if reading is None and not (by and by.numeric):
        _count(c, source, by)
        reading = scale_of(c) if c.numbers else None
    says = _says(found, c, reading, by)

    def read(value: Any, row: Mapping[str, Any]) -> Vote:
        if by is not None and value in by:
            p = by[value]
            return p, "" if p is not None else DROPPED
        x = number(value)
        if x is not None:
            return (reading[0](x) if reading and math.isfinite(x) else None), ""
        word = of_word(value, c.first, c.second, row) if isinstance(value, str) else None
        return word or (None, "")

    return Scale(c.name, says, read)


def _count(c: Column, source: Source, by: LabelMap | None) -> None:
    """Count the column's numbers in the whole file."""
    truths = 0
    for _, row in source.rows(Faults(source.name, source.line)):
        value = row.get(c.name)
        for cell in value if isinstance(value, list) else [value]:
            x = number(cell)
            if x is not None and math.isfinite(x) and not (by and cell in by):
                c.numbers[x] += 1
                truths += is_truth(cell)
    c.truths = truths > 0 and truths == c.numbers.total()


def _says(found: Layout, c: Column, reading: Reading | None, by: LabelMap | None) -> str:
    """How a verdict's column is read, in words."""
    parts = [f"{by.says(c.first, c.second)}, as --label-map says"] if by else []
    if reading:
        parts.append(reading[1])
    elif not by:
        parts.append(f"its words name {c.first}, {c.second} or a tie")
    if c.name in HELPSTEER and found.parts.get("margin") != c.name:
        parts.append(f"the strength is not used; --columns margin={c.name} makes it the margin")
    return "; ".join(parts)


def _outcomes(found: Layout) -> Scale:
    """One column for each outcome, of which exactly one is true."""
    parts = [found.parts.get(p) for p in ("verdict", "verdict_second", "verdict_tie")]
    first, second = found.parts["first"], found.parts["second"]
    names = [(c, p) for c, p in zip(parts, (1.0, 0.0, 0.5), strict=True) if c is not None]

    def read(value: Any, row: Mapping[str, Any]) -> Vote:
        cells = [number(row.get(c)) for c, _ in names]
        if sorted(x if x is not None else -1.0 for x in cells) != [0.0] * (len(names) - 1) + [1.0]:
            return None, ""
        return names[cells.index(1.0)][1], ""

    tie = f", {parts[2]} = tie" if parts[2] else ""
    return Scale(str(parts[0]), f"{parts[0]} = {first}, {parts[1]} = {second}{tie}", read)


def _scores(column: str, by: LabelMap | None) -> Scale:
    """The scale of a column of scores."""

    def read(value: Any, row: Mapping[str, Any]) -> Vote:
        if by is not None and value in by:
            x = by[value]
            return x, "" if x is not None else DROPPED
        x = number(value)
        return (x if x is not None and math.isfinite(x) else None), ""

    said = ", ".join(f"{v} = {'left out' if x is None else plain(x)}" for v, x in by or ())
    says = f"{said}, as --label-map says; " if said else ""
    return Scale(column, f"{says}a higher score is better", read)
