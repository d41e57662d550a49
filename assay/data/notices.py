"""What a reader of a file says when it is through: what was joined, changed, left out, not read."""

from __future__ import annotations

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.prompt_columns import DIALOGUE, HISTORY, SYSTEM, TOOLS

ORDER = ("tools", "system", "history", "prompt", "messages", "input")  # in which a prompt is joined


def prompt_columns(layout: Layout) -> tuple[str, ...]:
    """The columns that a prompt is joined from, in their order; empty without a prompt column."""
    return tuple(layout.parts[part] for part in ORDER if part in layout.parts)


def notices(layout: Layout, faults: Faults, *, rewarded: bool = False) -> list[str]:
    """Sentences for a person, one a kind.

    Args:
        layout: The file's columns.
        faults: Its warnings, and what nothing reads.
        rewarded: Whether the caller hands the other columns to reward functions.

    Returns:
        A sentence for a joined prompt, one for each kind of warning with its first place and its
        count, one for each column that looks like a part of the prompt and is not read, and one for
        all that nothing reads. Empty for a file of which everything is read as it stands.
    """
    lines = list[str]()
    if len(prompt_columns(layout)) > 1:
        lines.append(f"{faults.file}: the prompt is {' + '.join(prompt_columns(layout))}")
    for fault in faults.warned:
        n = faults.warnings[fault.kind]
        lines.append(f"{fault}{f' ({n:,} rows)' if n > 1 else ''}")
    lines += apart(layout, faults)
    if faults.not_read():
        rest = "; reward functions get the columns" if rewarded and layout.others else ""
        lines.append(f"{faults.file}: not read: {faults.not_read()}{rest}")
    return lines


def apart(layout: Layout, faults: Faults) -> list[str]:
    """A sentence for each column that looks like a part of the prompt, is not read, and says
    something that stands in no column that is read. A part that the user leaves out has none.
    """
    lines = list[str]()
    for column, n in faults.apart.items():
        says = f"{faults.file}: column '{column}' looks like a part of the prompt and is not read"
        part = _part(column)
        if part in layout.left_out:
            continue
        if part in layout.parts:
            cure = f"'{layout.parts[part]}' stands in its place; write both into one column"
        elif layout.kind == "prompts" and column in DIALOGUE:
            cure = (
                f"read its last reply with --columns messages={column}, or join it with --columns "
                f"{part}={column} if it comes before the prompt"
            )
        elif "prompt" in layout.parts or ("messages" in layout.parts and part != "input"):
            cure = f"join it with --columns {part}={column}"
        elif "messages" in layout.parts:
            cure = f"write it into '{layout.parts['messages']}' if it belongs there"
        else:
            cure = f"make it the prompt with --columns prompt={column}"
        lines.append(f"{says}; {cure}{f' ({n:,} rows)' if n > 1 else ''}")
    return lines


def _part(column: str) -> str:
    for part, names in (("system", SYSTEM), ("history", (*HISTORY, *DIALOGUE)), ("tools", TOOLS)):
        if column in names:
            return part
    return "input"
