"""A function of a configuration, called with the configuration's fields: signature, flags, help.

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

`world(seed=3)` builds it, and `assay run --world.seed 3` does the same: `parameters.from_text`
reads the fields from the text of the file.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, overload, runtime_checkable

P = ParamSpec("P")
C = TypeVar("C", covariant=True)
R = TypeVar("R")


@runtime_checkable
class Decorator(Protocol[P, C]):
    """What `from_config` returns: the fields take the place of `config` among the arguments."""

    @overload
    def __call__(self, function: Callable[[C], R]) -> Callable[P, R]: ...
    @overload
    def __call__(self, function: Callable[..., R]) -> Callable[..., R]: ...


def from_config(config: Callable[P, C]) -> Decorator[P, C]:
    """Decorate a function of `config` so that it takes the configuration's fields as keywords.

    The fields have their types and defaults in the signature and their descriptions under `Args:`,
    in place of `config`. `config=` is taken too; fields given beside it replace its own.

    Args:
        config: A keyword-only dataclass whose docstring describes its fields under `Attributes:`.

    Returns:
        The decorator.
    """
    made: Any = config

    def decorate(function: Callable[..., R]) -> Callable[..., R]:
        fields = {f.name: f for f in dataclasses.fields(made)}

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> R:
            base = named.pop("config", None)
            values = {name: named.pop(name) for name in fields if name in named}
            settings = made(**values) if base is None else dataclasses.replace(base, **values)
            return function(*given, config=settings, **named)

        own = [p for p in inspect.signature(function).parameters.values() if p.name != "config"]
        hints = {**typing.get_type_hints(function), **typing.get_type_hints(made)}
        own += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_default(f))
            for f in fields.values()
        ]
        told: Any = call
        told.__signature__ = inspect.Signature(
            [p.replace(annotation=hints[p.name]) for p in own], return_annotation=hints["return"]
        )
        told.__annotations__ = {p.name: hints[p.name] for p in own} | {"return": hints["return"]}
        told.__doc__ = _documented(inspect.getdoc(function) or "", inspect.getdoc(made) or "")
        return call

    return decorate  # type: ignore[return-value]


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default value as a signature has it."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def _documented(text: str, config: str) -> str:
    """A function's docstring, with the configuration's fields in place of its line `config: …`."""
    described = config.partition("Attributes:\n")[2].partition("\n\n")[0].rstrip()
    found, n = re.subn(r" *config: .*", lambda _: described, text)
    return found if n else f"{text}\n\nArgs:\n{described}\n"
