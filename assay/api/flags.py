"""Flags as data: a function's parameters with what help, a config file and completion need to know
of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.api.suggestions import meant
from assay.api.values import said, several, shown, value
from assay.errors import InputError
from assay.registry.docstrings import clause, first_sentence
from assay.registry.parameters import REQUIRED, Parameter, parameters

# where 0 stands for a choice: what help says in its place
CHOSEN = dict.fromkeys(("eval_steps", "eval_generations", "world.held_out"), "by the model's size")


@dataclass(frozen=True)
class Flag:
    """One `--name`.

    Attributes:
        name: In Python's spelling with its prefix, e.g. `world.held_out`.
        type: Its annotation.
        default: Its default value, `REQUIRED` where it must be given.
        help: One line.
        many: It may be given more than once.
        also: Other names, e.g. `--lr` and `-n`.
        group: The heading that help shows it under.
    """

    name: str
    type: Any = str
    default: Any = None
    help: str = ""
    many: bool = False
    also: tuple[str, ...] = ()
    group: str = "Options"

    @property
    def typed(self) -> str:
        """The flag as a user types it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as help shows it; empty if help shows no default."""
        if self.default is REQUIRED or self.default is None or self.default is False:
            return ""
        return shown(self.default) if self.default else CHOSEN.get(self.name, shown(self.default))

    @property
    def shortest(self) -> str:
        """The flag without its prefix, where it may be typed so."""
        bare = [a for a in self.also if a.startswith("--")]
        return bare[0] if bare and "." in self.name else self.typed


def of(
    source: Callable[..., Any] | Mapping[str, Parameter],
    *,
    prefix: str = "",
    group: str = "Options",
    without: Iterable[str] = ("loop",),
) -> dict[str, Flag]:
    """The flags of a function's keyword-only parameters, or of a dataclass's fields.

    Args:
        source: A function, a dataclass, or parameters that were read from text.
        prefix: Put before each name, e.g. `world.`.
        group: Their heading in help.
        without: Parameters that are no flags.

    Returns:
        Flags by name. A parameter without a default must be given.
    """
    found = source if isinstance(source, Mapping) else parameters(source)
    return {
        prefix + p.name: Flag(
            prefix + p.name, p.type, p.default, first_sentence(p.help), group=group
        )
        for p in found.values()
        if p.kind == "KEYWORD_ONLY" and p.name not in without
    }


def renamed(flags: Mapping[str, Flag], **also: tuple[str, ...]) -> dict[str, Flag]:
    """The same flags, some with further names: `renamed(flags, learning_rate=("--lr",))`."""
    return {k: replace(f, also=also[k]) if k in also else f for k, f in flags.items()}


def converted(
    given: Mapping[str, str | bool | list[str]],
    known: Mapping[str, Flag],
    hint: Callable[[Flag, str], str] = lambda flag, text: "",
) -> dict[str, Any]:
    """Typed values of what was typed, by flag name.

    Args:
        given: What was typed, by flag name.
        known: The flags there are, by name.
        hint: Of a flag and a text that is no value of its type: what was likely meant, as an
            addition to a sentence.

    Raises:
        InputError: A text is no value of its flag's type.
    """

    def one(flag: Flag, text: str) -> Any:
        try:
            return value(text, flag.type, flag.shortest)
        except InputError as why:
            raise InputError(f"{why}{hint(flag, text)}") from why

    return {
        name: one(known[name], text) if isinstance(text, str) else text
        for name, text in given.items()
    }


def fitted(given: Any, flag: Flag, name: str = "") -> Any:
    """A value from Python or JSON as one of the flag's type.

    A text where a list is wanted is read as on the command line, never taken apart into letters.

    Args:
        given: The value.
        flag: The flag it is for.
        name: What the message calls it; the flag where it is empty.

    Raises:
        InputError: It is no value of the flag's type.
    """
    if isinstance(given, float) and not math.isfinite(given):
        raise InputError(f"{name or flag.typed} is {given}; give a finite number")
    if isinstance(given, (bool, int, float)) and flag.type is type(given):
        return given
    if isinstance(given, float) and given.is_integer() and flag.type is int:
        return int(given)
    text = given if isinstance(given, (str, Path)) else json.dumps(given)
    return value(str(text), flag.type, name or flag.shortest)


def grid(overs: Iterable[str], known: Mapping[str, Flag], what: str) -> list[dict[str, Any]]:
    """A grid of settings.

    Args:
        overs: `["lam=0,.1", "seed=0..2"]`.
        known: The flags that may vary, by name.
        what: Whose flags they are, for the message.

    Returns:
        The product of all values; the last name varies fastest.

    Raises:
        InputError: An entry has no values, an unknown name, or a name for the second time.
    """
    settings: list[dict[str, Any]] = [{}]
    for over in overs:
        name, equals, text = over.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not text.strip():
            raise InputError(
                f"--over is '{over}', and a name with its values was expected, such as "
                "lam=0,.1,.5 or "
                "seed=0..4"
            )
        flag = find(name, known)
        if flag is None:
            raise InputError(f"{what} has no --{name} to vary{suggestion(name, known)}")
        if any(flag.name in s for s in settings):
            raise InputError(f"--over {flag.name} is given twice; give all its values once")
        values = [value(t, flag.type, f"--over {flag.name}") for t in several(text)]
        settings = [{**s, flag.name: v} for s in settings for v in values]
    return settings


def seeded(
    seeds: Sequence[int], known: Mapping[str, Flag], given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The run's seed and the world's, alike, for each seed of a sweep.

    Args:
        seeds: The seeds.
        known: The recipe's flags by name.
        given: Values that are given otherwise, by flag name.

    Returns:
        One setting a seed; one empty setting where there are no seeds.

    Raises:
        InputError: A seed is given otherwise too.
    """
    if not seeds:
        return [{}]
    twice = next((k for k in ("seed", "world.seed") if k in given), None)
    if twice:
        raise InputError(f"--seeds sets the run's seed and the world's; take --{twice} out")
    return [{k: n for k in ("seed", "world.seed") if k in known} for n in seeds]


def named(given: Mapping[str, Any], known: Mapping[str, Flag]) -> dict[str, Any]:
    """Values from Python by the full names of their flags; a name that is no flag's stays.

    Args:
        given: Values by any name of a flag: `lr`, `world__seed`.
        known: The flags there are, by name.

    Raises:
        InputError: Two names are one flag's.
    """
    found: dict[str, Any] = {}
    for name, v in given.items():
        flag = find(name, known) or find(name.replace("__", ".", 1), known)
        full = name if flag is None else flag.name
        if full in found:
            raise InputError(f"--{full.replace('_', '-')} is given twice, as {name} too")
        found[full] = v
    return found


def label(setting: Mapping[str, Any]) -> str:
    """A setting as a folder's name: lam=0.1,seed=2. Nothing in it can leave the folder it is in."""
    text = (
        ",".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in setting.items())
        or "run"
    )
    return re.sub(r"[^A-Za-z0-9_.,=+\[\]-]", "_", text)[:150]


def find(name: str, known: Mapping[str, Flag]) -> Flag | None:
    """The flag of this name, or of this further name (`lr`)."""
    if name in known:
        return known[name]
    typed = {"--" + name.replace("_", "-"), "-" + name}
    return next((f for f in known.values() if typed & set(f.also)), None)


def suggestion(word: str, known: Mapping[str, Flag], otherwise: str = "") -> str:
    """What was most likely meant, as an addition to a sentence.

    Args:
        word: The flag that was typed, without the leading dashes.
        known: The flags there are, by name.
        otherwise: The addition where nothing is near.
    """
    named = by_every_name(known)
    typed = " or ".join(dict.fromkeys(named[k].shortest for k in meant(word, named)))
    return f"; did you mean {typed}?" if typed else otherwise


def by_every_name(known: Mapping[str, Flag]) -> dict[str, Flag]:
    """The flags by their names and, where they have a shorter one, by that too."""
    short = {f.shortest.lstrip("-").replace("-", "_"): f for f in known.values()}
    return {**short, **known}


def no_such(
    subject: str, typed: str, name: str, known: Mapping[str, Flag], where: str, otherwise: str
) -> str:
    """The sentence for a flag that is not there.

    Args:
        subject: Who does not have it.
        typed: The flag as it was typed.
        name: The flag in Python's spelling.
        known: The flags there are, by name.
        where: Where else such a flag is, as an addition to a sentence; a whole sentence where it
            begins with the flag; "" where nowhere.
        otherwise: The addition where nothing is near.
    """
    if where.startswith("--"):
        return where
    if where and not meant(name, by_every_name(known), spelling=False):
        return f"{subject} has no {typed}{where}"
    return f"{subject} has no {typed}{suggestion(name, known, otherwise)}"


def required(known: Mapping[str, Flag], values: Mapping[str, Any]) -> None:
    """Raises InputError for the first flag that must be given and is not."""
    for name, flag in known.items():
        if flag.default is REQUIRED and name not in values:
            raise InputError(f"{flag.shortest} is required: {clause(flag.help) or said(flag.type)}")
