"""Files whose rows hold several completions, or a dialogue as one text: what to write instead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.data.messages import ROLE, key
from assay.data.turns import EMPTY

SAID = ("response", "answer", "text", "completion", "output", "generation", "content")
GRADE = ("score", "overall_score", "reward", "rating", "pm_score", "rank", "fine-grained_score")
SEVERAL = (
    "completions",
    "responses",
    "generations",
    "outputs",
    "candidates",
    "summaries",
    "samples",
)
EACH = "write one row for each, with the columns"
_TALK = re.compile(r"^\W*(?:USER|User|### ?(?:Instruction|Human)|<\|?\w+\|?>)\W")
_REPLY = re.compile(r"\n\W*(?:ASSISTANT|Assistant|### ?(?:Response|Assistant)|<\|?\w+\|?>)\W")


def advice(rows: Sequence[Mapping[str, Any]], seen: Sequence[str]) -> str:
    """Say what to do with a file that has no completion column of its own.

    Args:
        rows: Its first rows.
        seen: Its columns.

    Returns:
        A sentence's second half that names the column, what it holds and what to write; "" for a
        file without such a column.

    Example:
        >>> advice([{"prompt": "Hi", "outputs": ["Hello", "Hey"]}], ["prompt", "outputs"])[:33]
        'one row holds several completions'
    """
    for column in seen:
        value = next((r[column] for r in rows if r.get(column) not in EMPTY), None)
        found = _several(column, value, seen) or _talk(column, value)
        if found:
            return found
    return ""


def _several(column: str, value: Any, seen: Sequence[str]) -> str:
    if not isinstance(value, list | tuple):
        return ""
    first = value[0]
    holds = f"one row holds several completions in '{column}'"
    if isinstance(first, str) and column in SEVERAL:
        return f"{holds}, a list of texts; {EACH} prompt and response"
    if not isinstance(first, Mapping) or key(first, ROLE):
        return ""
    text = key(first, SAID)
    if text is None or not isinstance(first[text], str):
        return ""
    listed = f"{holds}, a list of objects with {', '.join(map(str, first))}"
    if "choice" in seen and len(value) == 2:
        return (
            f"{listed}; write one row for each comparison, with the columns prompt, chosen "
            f"(the '{text}' that 'choice' numbers) and rejected (the other one)"
        )
    grade = key(first, GRADE)
    if grade is None:
        return f"{listed}; {EACH} prompt and response ('{text}')"
    score = (
        "score, the negative of its rank, since 1 is the best"
        if grade == "rank"
        else f"score ('{grade}')"
    )
    return f"{listed}; {EACH} prompt, response ('{text}') and {score}"


def _talk(column: str, value: Any) -> str:
    if not isinstance(value, str) or not _TALK.match(value) or not _REPLY.search(value):
        return ""
    return (
        f"'{column}' holds a dialogue as one text with marks of its own ({value[:20]!r} …); write "
        "it as a list of {role, content} in a column 'messages'"
    )
