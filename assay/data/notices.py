"""What a reader of a file says when it is through: what was joined, changed, left out, not read."""

from __future__ import annotations

from assay.data.faults import Faults
from assay.data.kinds import Layout
from assay.data.prompt_columns import DIALOGUE, HISTORY, JOINED, LIKE_A_PROMPT, SYSTEM, TOOLS

ORDER = ("tools", "system", "history", "prompt", "input")  # in which a prompt is joined


def notices(layout: Layout, faults: Faults, *, functions: bool = False) -> list[str]:
    """Sentences for a person, one a kind.

    Args:
        layout: The file's columns.
        faults: Its warnings, and what nothing reads.
        functions: Whether the caller hands the other columns to reward functions.

    Returns:
        A sentence for a joined prompt, one for each kind of warning with its first place and its
        count, one for each column that looks like a part of the prompt and is not read, and one for
        all that nothing reads. Empty for a file of which everything is read as it stands.
    """
    lines, parts = list[str](), layout.parts
    if any(part in parts for part in JOINED):
        whole = " + ".join(parts[part] for part in ORDER if part in parts)
        lines.append(f"{faults.file}: the prompt is {whole}")
    for fault in faults.warned:
        n = faults.warnings[fault.kind]
        lines.append(f"{fault}{f' ({n:,} rows)' if n > 1 else ''}")
    left = [c for c in layout.others if c in LIKE_A_PROMPT and faults.unread[f"column '{c}'"]]
    lines += [
        f"{faults.file}: column '{c}' looks like a part of the prompt and is not read; join it "
        f"with --columns {_part(c)}={c}"
        for c in left
        if "prompt" in parts or c not in DIALOGUE
    ]
    handed = {f"column '{c}'" for c in layout.others} if functions else set[str]()
    if found := faults.not_read(only=handed):
        lines.append(f"{faults.file}: for reward functions alone: {found}")
    if found := faults.not_read(but=handed):
        lines.append(f"{faults.file}: not read: {found}")
    return lines


def _part(column: str) -> str:
    for part, names in (("system", SYSTEM), ("history", (*HISTORY, *DIALOGUE)), ("tools", TOOLS)):
        if column in names:
            return part
    return "input"
