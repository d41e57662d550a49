"""The arms of claims: worlds and recipes of one seed, each made once however many papers ask."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from assay.core import Loop, World
from assay.errors import InputError, Missing
from assay.evaluation.measure import measure
from assay.registry import catalogue
from assay.worlds.refit import refitted

Recipe = Callable[..., Iterator[Any]]


class Seed:
    """One seed. It is the world's and the run's alike, so that proxies are fitted anew.

    Args:
        build: The world's function.
        seed: The seed.
        loop: Fields of the Loop that were asked for.
    """

    def __init__(
        self,
        build: Callable[..., World],
        seed: int,
        loop: Mapping[str, Any],
    ):
        self.build, self.seed, self.loop = build, seed, loop
        self.seeded = "seed" in inspect.signature(build).parameters
        self.worlds: dict[str, World] = {}
        self.arms: dict[str, tuple[list[Any], Loop | None]] = {}

    def arm(self, name: str, arguments: Mapping[str, Any]) -> tuple[list[Any], Loop | None]:
        """Run an arm.

        Args:
            name: A recipe or a study.
            arguments: Its constants, fields of the Loop, `world.…`, `fit` and `fit.…`.

        Returns:
            The recipe's readings and its Loop, or the study's lines and None.

        Raises:
            InputError: A study's line has a number that is not finite.
        """
        key = json.dumps([name, arguments], sort_keys=True)
        if key not in self.arms:
            entry = catalogue.find(name)
            function = getattr(catalogue.load(entry), entry.verb)
            world, own = self._world(arguments)
            if entry.verb == "study":
                lines = [finite(row, name, self.seed) for row in function(world, **own)]
                self.arms[key] = lines, None
            else:
                loop, own = _resolved(function, world, {**own, **self.loop, "seed": self.seed})
                read = measure(
                    function, world, loop=loop, arguments=own, name=f"seed {self.seed}: {name}"
                )
                self.arms[key] = list(read), loop
        return self.arms[key]

    def pairs(self, arguments: Mapping[str, Any]) -> int:
        """How many preference pairs an arm's world has, 0 where there are none; arguments as of
        `arm`.
        """
        task = self._world(arguments)[0].task
        try:
            return len(task.pairs)
        except Missing:
            return 0

    def _world(self, arguments: Mapping[str, Any]) -> tuple[World, dict[str, Any]]:
        """An arm's world, with reward models fitted anew where it says so, and the arguments that
        are the paper's.
        """
        theirs = {
            k.removeprefix("world."): v for k, v in arguments.items() if k.startswith("world.")
        }
        fit = {k.removeprefix("fit."): v for k, v in arguments.items() if k.startswith("fit.")}
        own = {
            k: v
            for k, v in arguments.items()
            if k != "fit" and not k.startswith(("world.", "fit."))
        }
        key = json.dumps(theirs, sort_keys=True)
        if key not in self.worlds:
            self.worlds[key] = self.build(
                **{**theirs, **({"seed": self.seed} if self.seeded else {})}
            )
        refit = json.dumps([theirs, arguments.get("fit"), fit], sort_keys=True)
        if "fit" in arguments and refit not in self.worlds:
            self.worlds[refit] = refitted(self.worlds[key], arguments["fit"], fit)
        return self.worlds[refit if "fit" in arguments else key], own


def finite(line: Any, name: str, seed: int) -> Any:
    """A study's line as it is; raises InputError where a number in it is NaN or infinite, which no
    result file can keep.
    """
    for key, value in _numbers("", line):
        if not math.isfinite(value):
            raise InputError(f"{name} on seed {seed} yields {value} as {key}; nothing is judged")
    return line


def _numbers(at: str, value: Any) -> Iterator[tuple[str, float]]:
    """The floats in a JSON value, and where they are."""
    if isinstance(value, float):
        yield at, value
    elif isinstance(value, Mapping):
        for k, v in value.items():
            yield from _numbers(f"{at}.{k}" if at else str(k), v)
    elif isinstance(value, list | tuple):
        for i, v in enumerate(value):
            yield from _numbers(f"{at}[{i}]", v)


def _resolved(
    function: Recipe, world: Any, arguments: Mapping[str, Any]
) -> tuple[Loop, dict[str, Any]]:
    """An arm's Loop and the constants that are the paper's own."""
    names = {f.name for f in fields(Loop)}
    loop: Loop = catalogue.loop_of(
        function, world.loop, {k: v for k, v in arguments.items() if k in names}
    )
    return loop, {k: v for k, v in arguments.items() if k not in names}
