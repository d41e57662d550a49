"""Makes text of models, files and servers harmless: for a terminal, as JSON, in a spreadsheet.

Such text can be hostile. Everything that assay prints goes through `visible` (or `json_text`), and
every cell of a sheet that it writes through `cell`.
"""

from __future__ import annotations

import json
import logging
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

_JOINERS = "\u200c\u200d"  # some scripts and emojis cannot be written without them
# letters and marks that show nothing, though Unicode counts them among what is seen
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
_FORMULA = tuple("=+-@＝＋－＠")
_NEGATIVE = re.compile(r"-[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class _Shown(dict[int, int | str]):
    """A table for `str.translate`, filled as characters come."""

    def __missing__(self, code: int) -> int | str:
        self[code] = f"⟨U+{code:04X}⟩" if _hidden(chr(code)) else code
        return self[code]


def _hidden(c: str) -> bool:
    """Whether a character is invisible: control, format, surrogate, private or unassigned."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return c in _BLANK or (unicodedata.category(c) in kinds and c not in "\t\n" + _JOINERS)


_SHOWN = _Shown()


def parts(text: Any) -> list[tuple[bool, str]]:
    """A text in parts, each with whether it is one hidden character, which is spelled out.

    A joiner is hidden unless it joins two characters beyond ASCII.

    Example:
        >>> parts("a\\x1b[1m")
        [(False, 'a'), (True, '⟨U+001B⟩'), (False, '[1m')]
    """
    whole, out, seen = str(text), list[tuple[bool, str]](), 0
    for i, c in enumerate(whole):
        joins = c in _JOINERS and whole[i - 1 : i] > "\x7f" and whole[i + 1 : i + 2] > "\x7f"
        if joins or (c not in _JOINERS and _SHOWN[ord(c)] == ord(c)):
            continue
        out += [(False, whole[seen:i])] if seen < i else []
        out.append((True, f"⟨U+{ord(c):04X}⟩"))
        seen = i + 1
    return [*out, (False, whole[seen:])] if seen < len(whole) else out


def visible(text: Any) -> str:
    """Text for a terminal: every invisible character is spelled out, as in ⟨U+202E⟩.

    Control characters, escape sequences, changes of the reading direction, surrogates and line
    separators are invisible; tabs and line ends stay.

    Example:
        >>> visible("\\x1b[2Jnothing\\u202e")
        '⟨U+001B⟩[2Jnothing⟨U+202E⟩'
    """
    whole = str(text)
    if whole.isascii() and whole.isprintable():
        return whole
    if any(j in whole for j in _JOINERS):
        return "".join(part for _, part in parts(whole))
    return whole.translate(_SHOWN)


def only_visible(record: logging.LogRecord) -> bool:
    """A filter of a logger: its messages, which quote others' text, are made visible."""
    record.msg, record.args = visible(record.getMessage()), None
    return True


def json_text(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """A value as strict JSON on one line, in which every invisible character is a JSON escape.

    Args:
        value: What `json.dumps` takes. Numbers that are not finite become null.
        default: Gives a value for what JSON has no word for.

    Example:
        >>> json_text({"reason": "\\x9b2J", "gold": float("nan")})
        '{"reason": "\\\\u009b2J", "gold": null}'
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=default)
    except ValueError:  # a number that is not finite
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=default)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_json_escape(part) if hidden else part for hidden, part in parts(text))


def _json_escape(spelled: str) -> str:
    """`⟨U+202E⟩` as `\\u202e`; beyond the basic plane, the two surrogates."""
    return json.dumps(chr(int(spelled[3:-1], 16))).strip('"').replace("\x7f", "\\u007f")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def cell(text: Any) -> str:
    """Text for a cell of a sheet: visible, and never a formula.

    An apostrophe stands before what a spreadsheet would take for a formula, also after spaces and
    in full-width signs. A negative number stays one. `uncelled` takes the apostrophe away.

    Example:
        >>> cell("=1+1"), cell(" ＝1"), cell("-1.5"), cell("'=1")
        ("'=1+1", "' ＝1", '-1.5', "''=1")
    """
    shown = visible(str(text).replace("\r\n", "\n"))
    return f"'{shown}" if _is_formula(shown.lstrip("'")) else shown


def uncelled(text: str) -> str:
    """What `cell` was given, where it put an apostrophe; else the text.

    Example:
        >>> uncelled("'=1"), uncelled("''=1"), uncelled("'tis")
        ('=1', "'=1", "'tis")
    """
    return text[1:] if text[:1] == "'" and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    bare = text.lstrip()
    return text[:1] == "\t" or (bare.startswith(_FORMULA) and not _NEGATIVE.fullmatch(bare.strip()))
