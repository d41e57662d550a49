"""A world's arguments as one frozen dataclass: the signature, the record and the cache key.

A world is written as a function of its configuration and called with keywords:

    @dataclass(frozen=True, kw_only=True)
    class MineConfig:
        \"""The arguments of world mine.

        Attributes:
            seed: Of the world's own numbers.
        \"""

        seed: int = 0

    @from_config(MineConfig)
    def world(config: MineConfig) -> World:
        \"""A world of mine.\"""

`world(seed=3)` builds it, and `assay run --world.seed 3` does the same.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from assay.core import World
from assay.errors import InputError

P = ParamSpec("P")
C = TypeVar("C")


def from_config(config: Callable[P, C]) -> Callable[[Callable[[C], World]], Callable[P, World]]:
    """Decorate a function of a configuration so that it takes the configuration's fields.

    The decorated function has the fields as keyword-only parameters, with their types and defaults,
    and its docstring has their descriptions under `Args:`.

    Args:
        config: A keyword-only dataclass whose docstring describes its fields under `Attributes:`.

    Returns:
        The decorator.
    """

    def decorate(build: Callable[[C], World]) -> Callable[P, World]:
        @functools.wraps(build)
        def world(*args: P.args, **kwargs: P.kwargs) -> World:
            return build(config(*args, **kwargs))

        hints = typing.get_type_hints(config)
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(field),
                annotation=hints[field.name],
            )
            for field in dataclasses.fields(config)  # type: ignore[arg-type]
        ]
        own: Any = world
        own.__signature__ = inspect.Signature(parameters, return_annotation=World)
        own.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": World}
        _, _, described = (inspect.getdoc(config) or "").partition("Attributes:\n")
        own.__doc__ = f"{(inspect.getdoc(build) or '').strip()}\n\nArgs:\n{described}"
        return world

    return decorate


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default value as a signature has it."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


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
    """Raise InputError unless a field has one of these values."""
    value = getattr(config, name)
    if value not in choices:
        raise InputError(f"{flag(name)} is '{value}'; it is one of {', '.join(choices)}")


def check_range(config: Any, name: str, least: float, most: float | None = None) -> None:
    """Raise InputError unless a field lies between these bounds, both included."""
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
    """A field as a user types it, such as `--world.held-out`."""
    return f"--world.{name.replace('_', '-')}"
