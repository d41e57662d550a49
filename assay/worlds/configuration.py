"""A world's configuration: the record and the cache key made of it, and checks of its fields.

`registry/from_config.py` makes the world's keywords of the same fields.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from assay.errors import InputError


def arguments(config: Any, *, without: Collection[str] = ()) -> dict[str, Any]:
    """A configuration as the record and the cache key have it.

    Args:
        config: A world's configuration.
        without: Fields to leave out: those that no number depends on.

    Returns:
        Values by field name, in the order of the fields; sequences as lists, mappings as dicts.
    """
    found = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    return {name: _plain(value) for name, value in found.items() if name not in without}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, (list, tuple)) else value


def check_choice(config: Any, name: str, choices: Collection[str]) -> None:
    """Check that a field has one of these values.

    Args:
        config: The world's config.
        name: The field.
        choices: The values.

    Raises:
        InputError: It has another value.
    """
    value = getattr(config, name)
    if value not in choices:
        raise InputError(f"{flag(name)} is '{value}'; it is one of {', '.join(choices)}")


def check_range(config: Any, name: str, least: float, most: float | None = None) -> None:
    """Check that a field lies between these bounds, both included.

    Args:
        config: The world's config.
        name: The field.
        least: The lower bound.
        most: The upper bound; None for none.

    Raises:
        InputError: It lies outside.
    """
    value = getattr(config, name)
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{flag(name)} is {value}; it must be {bounds}")


def check_share(config: Any, name: str) -> None:
    """Raise InputError unless a field is a share."""
    value = getattr(config, name)
    if not 0 <= value <= 1:
        raise InputError(f"{flag(name)} is {value}; it is a share, from 0 to 1")


def flag(name: str) -> str:
    """A field as a user types it, such as `--held-out`."""
    return f"--world.{name.replace('_', '-')}"
