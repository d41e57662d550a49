"""Messages, rounds and lists that were written into a text cell, as JSON or as Python prints
them.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from assay.data.messages import CONTENT, ROLE, Unreadable, key, known_role

_SPEAKS = re.compile(r"""["'](?:role|from)["']\s*:\s*["']([^"']*)["']""")
_BEGINS = re.compile(r"""\s*\[?\s*\{\s*["'](?:role|from|content|value)["']\s*:""")
_NO_COMMA = re.compile(r"\}\s*\n\s*\{")  # NumPy prints arrays of dicts without commas
LONGEST = 1 << 20  # characters of a cell that is tried as messages


def parsed(text: str) -> Any:
    """Messages that were written into a text cell, as JSON or as Python or NumPy prints them.

    Args:
        text: A cell.

    Returns:
        The list or the object; None for a text that is no messages, such as JSON of something else.

    Raises:
        Unreadable: The text begins as messages do, and is cut or damaged.
    """
    if text.lstrip()[:1] not in ("[", "{") or len(text) > LONGEST:
        return None
    speaks = _SPEAKS.search(text)
    if speaks is None or not known_role(speaks[1]):
        return None
    value = literal(text)
    if value is not None:
        return value if _are_messages(value) else None
    if _BEGINS.match(text):
        raise Unreadable("text that begins as a list of messages and cannot be read as one")
    return None


def literal(text: str) -> Any:
    """The list or the object that a text spells in JSON, Python or NumPy; None for none of them."""
    for read in (json.loads, ast.literal_eval, _numpy):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, list | dict) else None
    return None


def _numpy(text: str) -> Any:
    return ast.literal_eval(_NO_COMMA.sub("}, {", text))


def _are_messages(value: Any) -> bool:
    if isinstance(value, dict):
        value = [value]
    return bool(value) and all(
        isinstance(m, dict) and known_role(m.get(key(m, ROLE) or "")) and set(m) & set(CONTENT)
        for m in value
    )


def rounds(value: Any) -> list[str] | None:
    """A cell that is a list of texts, one a round, or JSON of one; None for any other cell."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list | tuple) or not value:
        return None
    if not all(text is None or isinstance(text, str) for text in value):
        return None
    return [text or "" for text in value]
