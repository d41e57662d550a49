"""Which completions of a file are labelled desirable and which undesirable, as KTO has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from assay.data.demos import Demo
from assay.data.kinds import Layout
from assay.data.numbers import plain

LABELS = ("label", "kto_tag")  # what TRL and LLaMA-Factory call the label
_NAMED = "name its column with --columns score=NAME"


def by_label(found: Layout, columns: Mapping[str, str]) -> Layout:
    """The columns of a file of demonstrations, the label first among its columns of numbers.

    Data sets keep a rating beside the label. Where both stand, the label says what is to be
    imitated.

    Args:
        found: The file's columns.
        columns: Those that the user names, by part.
    """
    if "response" not in found.parts or "score" in columns:
        return found
    used = {column for part, column in found.parts.items() if part != "score"}
    labels = [c for c in LABELS if c in found.numeric and c not in used]
    return replace(found, parts={**found.parts, "score": labels[0]}) if labels else found


def desirable(demos: Sequence[Demo]) -> list[float] | None:
    """1 for each desirable completion and 0 for each other one.

    Args:
        demos: The completions of a file.

    Returns:
        The labels; None where a completion has none, or one that is neither 0 nor 1.
    """
    labels = [d.label for d in demos]
    return labels if set(labels) <= {0.0, 1.0} else None


def unlabelled(file: str, demos: Sequence[Demo]) -> str:
    """Why a file has no two kinds of completions to learn from; "" where it has.

    Args:
        file: The file's name.
        demos: Its completions.
    """
    if not demos:
        return f"{file} has no completions; give a file with labelled ones"
    by = demos[0].labelled_by
    if not by or any(math.isnan(d.label) for d in demos):
        return (
            f"{file} has no column of labels; give each row a column 'label' that is true for a "
            f"desirable completion and false for another one, or {_NAMED}"
        )
    odd = next((d for d in demos if d.label not in (0.0, 1.0)), None)
    if odd is not None:
        return (
            f"{file}, row {odd.row}, column '{by}': {plain(odd.label)} is no label; write true or "
            f"1 for a desirable completion and false or 0 for another one, or {_NAMED}"
        )
    if len({d.label for d in demos}) == 1:
        kind, other = ("true", "false") if demos[0].label else ("false", "true")
        return (
            f"{file}, column '{by}': {kind} in every row, {len(demos)} in all; give completions of "
            f"both kinds, add rows that are {other}, or {_NAMED}"
        )
    return ""
