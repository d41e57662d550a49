"""Names of objects that are open already: a model, a function or a fitted reward from Python."""

from __future__ import annotations

import hashlib
import json
from typing import Any

PYTHON = "python:"  # before the name of a function that only its own program has


class Live(str):
    """The name of an object that is already open.

    It goes wherever a name goes: into a configuration, a record, a message. What would open the
    name takes `value` instead.

    Args:
        name: What a record calls the object.
        value: The object.
        found: Whether another process finds the object by this name: a file, a folder, a function
            of a file.

    Attributes:
        value: The object.
        found: See above.

    Example:
        >>> score = Live("judge.py:score", len)
        >>> score, score.value("four")
        ('judge.py:score', 4)
    """

    value: Any
    found: bool

    def __new__(cls, name: str, value: Any, *, found: bool = False) -> Live:
        made = super().__new__(cls, name)
        made.value, made.found = value, found
        return made

    def __copy__(self) -> Live:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Live:
        return self  # dataclasses.asdict copies values; the object stays one

    def __reduce__(self) -> Any:
        return str, (str(self),)  # an open object does not travel to another process


def is_live(value: Any) -> bool:
    """Tell whether a value is a live name, or a tuple with one in it."""
    return isinstance(value, Live) or (
        isinstance(value, tuple) and any(isinstance(v, Live) for v in value)
    )


def plainly(value: Any) -> Any:
    """Return a value with plain text in place of live names, as a record has it."""
    if isinstance(value, (list, tuple)):
        return [plainly(v) for v in value]
    return str(value) if isinstance(value, Live) else value


def identity(value: Any) -> Any:
    """Return a value in which live names say which object they stand for.

    Two objects may have one name. Rows are told apart by what they hold, other objects by their id,
    which holds as long as they live.
    """
    if isinstance(value, dict):
        return {k: identity(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [identity(v) for v in value]
    if not isinstance(value, Live):
        return value
    found = value.value
    if isinstance(found, list):
        return [str(value), hashlib.sha256(json.dumps(found).encode()).hexdigest()]
    return [str(value), id(getattr(found, "model", found)), id(getattr(found, "tokenizer", None))]


def opened(name: Any) -> Any:
    """Return the object that a name stands for, or None for a plain name."""
    return name.value if isinstance(name, Live) else None
