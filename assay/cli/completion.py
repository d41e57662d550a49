"""completion: the script by which a shell completes verbs, flags, recipes and worlds."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

from cyclopts import App

from assay.cli.grammar import Grammar
from assay.cli.parsing import app
from assay.cli.verbs import Verb
from assay.registry import catalogue

DTYPES = ("float32", "bfloat16", "float64")  # of world hub


def completion_(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print the completion script of a shell.

    bash: source <(assay completion bash) in ~/.bashrc; zsh: the same with zsh in ~/.zshrc; fish:
    assay completion fish > ~/.config/fish/completions/assay.fish

    Args:
        shell: bash, zsh or fish.

    Example:
        source <(assay completion bash)
        assay completion fish > ~/.config/fish/completions/assay.fish
    """
    from assay.cli import VERBS

    script = root(VERBS).generate_completion(prog_name="assay", shell=shell)
    # file names too, where nothing else fits
    print(script.replace("\ncomplete -F ", "\ncomplete -o default -F "), end="")
    return 0


def root(verbs: dict[str, Verb]) -> App:
    """Every verb with its flags as one cyclopts application."""
    made = App(name="assay", help_format="plaintext")
    nested: dict[str, App] = {}
    for name, verb in verbs.items():
        # as in help: the flags of a model of your own, where no world is named
        one = app(_completed(verb.grammar(["--help"])), completing=True)
        head, _, tail = name.partition(" ")
        nested[name] = one
        (nested[head] if tail else made).command(one, name=tail or head)
    return made


def _completed(grammar: Grammar) -> Grammar:
    """The grammar with the names that its words and some of its flags may have."""
    named = {"world": catalogue.worlds(), "fit": _names(("fit",)), "dtype": DTYPES}
    flags = {
        k: replace(f, type=Literal[tuple(named[last])])  # type: ignore[misc]
        if (last := k.removeprefix("world.")) in named and f.type is str
        else f
        for k, f in grammar.flags.items()
    }
    grammar = replace(grammar, flags=flags)
    wanted = {
        "run": ("recipe",),
        "sweep": ("recipe",),
        "study": ("study",),
        "show": ("recipe", "fit", "study"),
        "cite": ("recipe", "fit", "study"),
    }.get(grammar.verb)
    if not wanted:
        return grammar
    names = _names(wanted)
    return replace(grammar, words=tuple(replace(w, choices=names) for w in grammar.words))


@cache  # every paper's file is read for it
def _names(verbs: tuple[str, ...]) -> tuple[str, ...]:
    """The papers whose files have one of these functions."""
    return tuple(e.name for e in catalogue.entries() if e.verb in verbs)
