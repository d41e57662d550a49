"""Says in words what pydantic found wrong with a value of a record."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "str": "text",
    "dict": "an object",
}


def fault(why: ValidationError) -> tuple[list[Any], str]:
    """Say the first thing that is wrong with a value.

    Args:
        why: What pydantic found.

    Returns:
        (place, sentence part): the path to the value, and what was found and expected there, such
        as "step 'one' where a whole number was expected".
    """
    first = why.errors(include_url=False)[0]
    names = [p for p in first["loc"] if not _of_a_type(p)]
    if first["type"] == "missing":
        return names, f"no {'.'.join(str(p) for p in names if not isinstance(p, int))}"
    kind = first.get("ctx", {}).get("class", first["type"])
    wanted = _EXPECTED.get(kind) or first["msg"].removeprefix("Input should be ").lower()
    name = ".".join(str(p) for p in names if not isinstance(p, int)) or "it"
    return names, f"{name} {first['input']!r:.40} where {wanted} was expected"


def _of_a_type(part: Any) -> bool:
    """Whether a part of pydantic's path names a member of a union and no key."""
    return isinstance(part, str) and part in ("int", "float", "none", "bool", "constrained-int")
