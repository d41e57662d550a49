"""A verb is a function: its signature and its docstring are the grammar, and it is called with what
was typed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from assay.api import settings
from assay.api.flags import Flag, converted, of
from assay.api.values import value
from assay.cli import config
from assay.cli.grammar import HEADINGS, Grammar, Words
from assay.cli.parsing import parse
from assay.errors import InputError
from assay.registry import docstrings
from assay.registry.parameters import REQUIRED, Parameter, parameters

ALSO = {"out": ("-o",), "num_generations": ("-n",), "learning_rate": ("--lr",)}
JSON = Flag("json", bool, False, "Print the result as JSON.", group="General")


@dataclass(frozen=True)
class Seen:
    """What stands on a command line before its flags are known: enough to find the recipe and the
    world.

    Attributes:
        words: What is no flag and no flag's value.
        flags: The text after each flag, by name; "" where none stands.
    """

    words: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)


def seen(tokens: Sequence[str], switches: Sequence[str], found: Mapping[str, Any]) -> Seen:
    """Look over a command line.

    Args:
        tokens: The command line after the verb.
        switches: The flags that take no value, as far as they are known.
        found: The flags of a config file; the command line wins.
    """
    words: list[str] = []
    flags = {k: str(v) for k, v in found.items() if isinstance(v, (str, int, float))}
    i = 0
    while i < len(tokens):
        token = tokens[i]
        i += 1
        if not token.startswith("-"):
            words.append(token)
            continue
        name, equals, text = token.lstrip("-").partition("=")
        name = {"o": "out", "h": "help"}.get(name, name.replace("-", "_"))
        takes = not equals and name not in switches and not name.startswith("no_")
        if takes and i < len(tokens) and not tokens[i].startswith("--"):
            text = tokens[i]
            i += 1
        flags[name] = text
    return Seen(words, flags)


@dataclass(frozen=True)
class Verb:
    """A verb of the command line.

    Attributes:
        name: As it is typed, e.g. `watch status`.
        module: The module of this folder that has it.
        function: The function's name there. One that takes `**settings` has a function `grammar`
            beside it, which adds the flags that depend on what is typed.
        group: The heading that `assay --help` shows it under.
        instead: What to do with a word that has no place, e.g. "assay show {word} tells of one
            paper".
    """

    name: str
    module: str
    function: str
    group: str
    instead: str = ""

    def summary(self) -> str:
        """The first line of the function's docstring, read without running the module."""
        path = Path(__file__).with_name(f"{self.module}.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == self.function:
                return docstrings.parse(ast.get_docstring(node)).summary
        raise LookupError(f"{path} has no function {self.function}")

    def load(self) -> Callable[..., int]:
        """The function itself."""
        found: Callable[..., int] = getattr(
            importlib.import_module(f"assay.cli.{self.module}"), self.function
        )
        return found

    def grammar(
        self, tokens: Sequence[str] = (), found: Mapping[str, Any] | None = None
    ) -> Grammar:
        """What the verb takes.

        Args:
            tokens: The command line after the verb, on which a recipe's flags depend.
            found: The flags of a config file.
        """
        function = self.load()
        given = {
            k.rstrip("_"): replace(p, name=k.rstrip("_")) for k, p in parameters(function).items()
        }
        docs = docstrings.parse(inspect.getdoc(function))
        placed = [
            p for p in given.values() if p.kind in ("POSITIONAL_OR_KEYWORD", "VAR_POSITIONAL")
        ]
        grammar = Grammar(
            verb=self.name,
            flags=_flags(given),
            words=tuple(Words(p.name, p.kind == "VAR_POSITIONAL", p.help) for p in placed),
            summary=docs.summary,
            about=docstrings.reflowed(docs.body),
            # a line that begins with a flag continues the one before it
            examples=tuple(
                re.sub(r"\n\s*(?=-)", " ", docs.sections.get("examples", "")).splitlines()
            ),
            instead=self.instead,
        )
        if any(p.kind == "VAR_KEYWORD" for p in given.values()):
            known = {**settings.run(), **grammar.flags}
            switches = [n for n, f in known.items() if f.type is bool]
            looked = seen(tokens, [*switches, "print_config", "help", "json"], found or {})
            words = looked.words or _words(found or {}, grammar)
            module = importlib.import_module(f"assay.cli.{self.module}")
            grammar = module.grammar(grammar, replace(looked, words=words))
        flags = dict(grammar.flags)
        if len(flags) > 8:  # a verb of a few flags needs no file for them
            of_files = {k: f for k, f in flags.items() if f.group == "Options"}
            flags |= {k: replace(f, group=HEADINGS.get(k, "Run")) for k, f in of_files.items()}
            flags |= config.CONFIG
        if "json" in given:
            flags["json"] = JSON
        return replace(grammar, flags=flags)


def _flags(given: Mapping[str, Parameter]) -> dict[str, Flag]:
    found = of({k: p for k, p in given.items() if k != "json"})
    return {
        k: replace(f, also=ALSO.get(k, ()), many=list[str] in (f.type, *get_args(f.type)))
        for k, f in found.items()
    }


def call(verb: Verb, tokens: Sequence[str]) -> int:
    """Run a verb with what was typed after it.

    Returns:
        The exit code.

    Raises:
        InputError: Something typed, or in the config file, is not what the verb takes.
    """
    path = seen(tokens, ["print_config", "json", "help"], {}).flags.get("config")
    found = config.read(Path(path)) if path else {}
    grammar = verb.grammar(tokens, found)
    words, typed = parse(tokens, grammar)
    values = converted(typed, grammar.flags, grammar.mistyped)
    values.pop("config", None)
    printed = values.pop("print_config", False)
    if path:
        words = words or _words(found, grammar)
        flags = {k: v for k, v in found.items() if k not in {w.name for w in grammar.words}}
        values = {**config.settled(flags, values, grammar, Path(path)), **values}
    if printed:
        resolved = {_shown(k, grammar): v for k, v in _resolved(values, grammar).items()}
        print(config.toml({**_named(words, grammar), **resolved}), end="")
        return 0
    function = verb.load()
    given = parameters(function)
    arguments = _placed(words, given)
    for p in given.values():
        if p.kind == "KEYWORD_ONLY" and p.default is REQUIRED and p.name not in values:
            raise InputError(f"--{p.name} is required: {docstrings.clause(p.help)}")
    from assay.cli import progress

    with progress.shown():
        return function(
            *arguments, **{f"{k}_" if f"{k}_" in given else k: v for k, v in values.items()}
        )


def _words(found: Mapping[str, Any], grammar: Grammar) -> list[str]:
    """The words that a config file gives."""
    given = [found[w.name] for w in grammar.words if w.name in found]
    return [str(w) for v in given for w in (v if isinstance(v, list) else [v])]


def _placed(words: Sequence[str], given: Mapping[str, Parameter]) -> list[Any]:
    """Values of the positional parameters."""
    out: list[Any] = []
    rest = list(words)
    for p in given.values():
        if p.kind == "VAR_POSITIONAL":
            out += rest
        elif p.kind == "POSITIONAL_OR_KEYWORD" and rest:
            out.append(value(rest.pop(0), p.type, p.name))
        elif p.kind == "POSITIONAL_OR_KEYWORD" and p.default is REQUIRED:
            raise InputError(f"{p.name.upper()} is required: {docstrings.clause(p.help)}")
    return out


def _named(words: Sequence[str], grammar: Grammar) -> dict[str, Any]:
    """The words as a config file has them."""
    rest = list(words)
    return {w.name: rest if w.many else rest.pop(0) for w in grammar.words if rest}


def _shown(name: str, grammar: Grammar) -> str:
    """A flag's name as help shows it, in Python's spelling: `world.policy` is `model`."""
    flag = grammar.flags.get(name)
    return name if flag is None else flag.shortest[2:].replace("-", "_")


def _resolved(values: Mapping[str, Any], grammar: Grammar) -> dict[str, Any]:
    """Every flag's value, given or default, without those that say what becomes of this one run.

    The defaults of `--watch.…` are left out where nothing is watched, because a run refuses them
    there, and all defaults of a sweep, because each recipe has its own.
    """
    left = {"json", "out", "resume", "from", "config", "print_config"}
    if grammar.verb == "sweep":
        return {k: v for k, v in values.items() if k not in left}
    off = {p for p, f in grammar.flags.items() if p in config.BARE and not values.get(p, f.default)}
    return {
        k: values.get(k, f.default)
        for k, f in grammar.flags.items()
        if k not in left
        and (k in values or (f.default not in (REQUIRED, None) and k.partition(".")[0] not in off))
    }
