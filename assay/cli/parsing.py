"""Flags and words of one verb through cyclopts: parsing, help, completion; every refusal becomes
one sentence.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Annotated, Any

from cyclopts import App, Group, Parameter
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
)

from assay.api.flags import Flag, find, no_such
from assay.api.values import metavar, said
from assay.cli import screen
from assay.cli.endings import folded
from assay.cli.grammar import Grammar
from assay.errors import InputError
from assay.registry.parameters import REQUIRED, choices
from assay.safe_text import visible

_RENAMED = re.compile(r"[a-z]+=[^=,/]+")
GROUPS = (
    "Arguments",
    "Recipe",
    "Model",
    "Data",
    "Sampling",
    "Optimisation",
    "Rewards",
    "World",
    "Watch",
    "Run",
    "Server",
    "Batches",
    "Limits",
    "Options",
    "General",
)
FEW = 12  # as many flags as an error message lists


def app(grammar: Grammar, *, completing: bool = False) -> App:
    """The verb as a cyclopts application.

    Args:
        grammar: What the verb takes.
        completing: Words have choices, which parsing must not enforce.
    """
    made = App(
        name=grammar.verb.split()[-1],
        help=visible("\n\n".join(p for p in (grammar.summary, grammar.about) if p)),
        help_format="plaintext",
        help_flags=["--help", "-h"],
        version_flags=[],
        group_arguments=_group("Arguments"),
        group_parameters=_group("Options"),
        group_commands=_group("General"),
        result_action="return_value",
        usage=visible(_usage(grammar)),
    )
    made["--help"].help = "Show this text."
    made.default(_function(grammar, completing))
    return made


def help_of(grammar: Grammar) -> None:
    """Print a verb's help: what it does, its flags under their headings, and examples."""
    first = dict(sorted(grammar.flags.items(), key=lambda f: f[1].default is not REQUIRED))
    app(replace(grammar, flags=first)).help_print([], console=screen.results())
    if grammar.examples:
        print(f"\n{screen.heading('Examples')}")
        print("\n".join(f"  {folded(e, 76, '      ')}" for e in grammar.examples))


def _usage(grammar: Grammar) -> str:
    words = "".join(f" {w.name.upper()}{'…' if w.many else ''}" for w in grammar.words)
    must = "".join(
        f" {f.shortest} {metavar(f.type)}"
        for f in grammar.flags.values()
        if f.default is REQUIRED and f.name not in {w.name for w in grammar.words}
    )
    return f"Usage: assay {grammar.verb}{words}{must} [OPTIONS]"


def _function(grammar: Grammar, completing: bool) -> Callable[..., Any]:
    """A function whose signature is the grammar. It returns words and flags as they were typed."""
    names: dict[str, str] = {}
    rows: list[inspect.Parameter] = []
    for word in grammar.words:
        hint: Any = str if word.many else str | None
        told = Parameter(
            help=visible(word.help),
            group=_group("Arguments"),
            negative=(),
            show_default=False,
            choices=word.choices if completing and word.choices else None,
        )
        kind = inspect.Parameter.VAR_POSITIONAL if word.many else inspect.Parameter.POSITIONAL_ONLY
        default = inspect.Parameter.empty if word.many else None
        rows.append(
            inspect.Parameter(word.name, kind, default=default, annotation=Annotated[hint, told])
        )
    if not any(w.many for w in grammar.words):
        rows.append(
            inspect.Parameter(
                "more_words",
                inspect.Parameter.VAR_POSITIONAL,
                annotation=Annotated[str, Parameter(show=False)],
            )
        )
    for flag in grammar.flags.values():
        safe = "f_" + flag.name.replace(".", "__")
        names[safe] = flag.name
        rows.append(
            inspect.Parameter(
                safe,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_annotation(flag, completing),
            )
        )

    def typed(*words: str | None, **flags: Any) -> tuple[list[str], dict[str, Any]]:
        return [w for w in words if w is not None], {
            names[k]: v for k, v in flags.items() if v is not None
        }

    typed.__signature__ = inspect.Signature(rows)  # type: ignore[attr-defined]
    typed.__annotations__ = {r.name: r.annotation for r in rows}
    typed.__doc__ = None
    return typed


def _annotation(flag: Flag, completing: bool) -> Any:
    switch = flag.type is bool
    default = flag.default_text
    helped = (
        flag.help
        + (f" [default: {default}]" if default else "")
        + (" [required]" if flag.default is REQUIRED else "")
    )
    prefix, _, last = flag.shortest[2:].rpartition(".")
    off = f"--{prefix}.no-{last}" if prefix else f"--no-{last}"
    return Annotated[
        bool | None if switch else list[str] | None if flag.many else str | None,
        Parameter(
            # the longer form of a world's argument is taken too, see _joined
            name=list(dict.fromkeys([flag.shortest, *flag.also])),
            negative=(off,)
            if switch and flag.default is True
            else (),  # any switch is turned off by --no-, see _joined
            help=visible(helped.strip()),
            metavar=visible(metavar(flag.type)) or None,
            group=_group(flag.group),
            show=flag.group != "Hidden",
            show_default=False,
            choices=tuple(map(str, choices(flag.type))) or None if completing else None,
        ),
    ]


@cache
def _group(name: str) -> Group:
    return Group(name, sort_key=GROUPS.index(name) if name in GROUPS else len(GROUPS))


def parse(tokens: Sequence[str], grammar: Grammar) -> tuple[list[str], dict[str, Any]]:
    """Words, and the text of each given flag by its name (True or False for a switch, a list where
    it may repeat).

    Args:
        tokens: The command line after the verb.
        grammar: What the verb takes.

    Raises:
        InputError: An unknown flag, one given twice or without its value, or a word too many.
    """
    try:
        function, bound, _ = app(grammar).parse_args(
            _joined(tokens, grammar.flags), print_error=False, exit_on_error=False
        )
    except CycloptsError as why:
        raise InputError(sentence(why, grammar)) from why
    words, given = function(*bound.args, **bound.kwargs)
    if not any(w.many for w in grammar.words) and len(words) > len(grammar.words):
        raise InputError(_one_too_many(words[len(grammar.words)], grammar))
    return words, given


def _one_too_many(word: str, grammar: Grammar) -> str:
    takes = ", ".join(w.name.upper() for w in grammar.words)
    if not takes:
        rest = "; " + grammar.instead.format(word=word) if grammar.instead else ""
        return f"assay {grammar.verb} takes no arguments, and found '{word}'{rest}"
    return (
        f"assay {grammar.verb} has no place for '{word}'; it takes {takes}, and the rest as flags"
    )


def sentence(why: CycloptsError, grammar: Grammar) -> str:
    """A refusal in one sentence: what was found, and what to do."""
    known = grammar.flags
    if isinstance(why, UnknownOptionError):
        typed = (why.token.keyword or why.token.value).partition("=")[0]
        return unknown(typed.lstrip("-").replace("-", "_"), grammar, typed)
    if isinstance(why, RepeatArgumentError):
        flag = _flag(why.token.keyword or "", known)
        return f"{flag} is given twice; give it once"
    if isinstance(why, CoercionError) and why.token is not None:
        return (
            f"{_flag(why.token.keyword or '', known)} is '{why.token.value}', and true or "
            "false was expected"
        )
    if isinstance(why, MissingArgumentError) and why.keyword:
        found = find(why.keyword.lstrip("-").replace("-", "_"), known)
        return f"{_flag(why.keyword, known)} needs a value" + (
            f": {said(found.type)}" if found else ""
        )
    return " ".join(str(why).split())


def unknown(name: str, grammar: Grammar, typed: str = "") -> str:
    """The sentence for a flag that is not there.

    Args:
        name: The flag in Python's spelling.
        grammar: What the verb takes.
        typed: The flag as it was typed.
    """
    if len(grammar.flags) <= FEW:
        otherwise = f"; there are {', '.join(f.typed for f in grammar.flags.values())}"
    else:
        otherwise = f"; assay {grammar.verb}{grammar.named} --help lists its flags"
    return no_such(
        grammar.subject,
        typed or f"--{name.replace('_', '-')}",
        name,
        grammar.flags,
        grammar.elsewhere(name),
        otherwise,
    )


def _flag(typed: str, known: Mapping[str, Flag]) -> str:
    found = find(typed.lstrip("-").replace("-", "_"), known)
    return found.shortest if found else typed


def _shortened(token: str, known: Mapping[str, Flag]) -> str:
    """A token with the flag's shortest name: `--held-out=9` is `--held-out=9`."""
    typed, equals, text = token.partition("=")
    flag = known.get(typed.removeprefix("--").replace("-", "_")) if "." in typed else None
    return f"{flag.shortest}{equals}{text}" if flag and typed.startswith("--") else token


def _joined(tokens: Sequence[str], known: Mapping[str, Flag]) -> list[str]:
    """The tokens with `--columns prompt=q chosen=good` as one value, and switches as `--flag=true`
    or `--flag=false`.
    """
    out: list[str] = []
    rest = list(tokens)
    while rest:
        token = _shortened(rest.pop(0), known)
        out.append(token)
        if not token.startswith("-") or "=" in token:
            continue
        name = token.lstrip("-").replace("-", "_")
        flag, off = find(name, known), find(re.sub(r"(^|\.)no_", r"\1", name), known)
        if flag is None and off is not None and off.type is bool:
            out[-1] = f"{off.shortest}=false"
        elif flag is not None and flag.type is bool:
            out[-1] = f"{token}={rest.pop(0) if rest and rest[0] in ('true', 'false') else 'true'}"
        elif name.rpartition(".")[2] == "columns" and rest:
            out.append(rest.pop(0))
            while rest and _RENAMED.fullmatch(rest[0]):
                out[-1] += f",{rest.pop(0)}"
    return out
