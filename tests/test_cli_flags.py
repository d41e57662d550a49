"""The signature is the configuration: what a flag's text becomes, and what is refused, in one
sentence each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from assay.api import flags
from assay.api.suggestions import meant
from assay.api.values import several
from assay.cli.grammar import Grammar, Words
from assay.cli.parsing import parse
from assay.core import Loop
from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.parameters import REQUIRED


def recipe(
    task: Any,
    *,
    lam: float = 0.5,
    members: int = 3,
    name: str = "x",
    on: bool = False,
    ks: tuple[int, ...] = (1, 2),
    parts: list[float] | None = None,
    weights: dict[str, float] | None = None,
    kind: Literal["a", "b"] = "a",
    loop: Loop = Loop(epochs=2),
) -> None:
    """A recipe with a constant of every kind.

    Args:
        lam: The price of a nat. Zero switches it off.
    """


KNOWN = flags.of(recipe)


def parsed(*tokens: str, known: dict[str, flags.Flag] = KNOWN) -> dict[str, Any]:
    _, given = parse(tokens, Grammar("run", known, what="recipe"))
    return flags.converted(given, known)


def test_flags_are_the_keyword_only_parameters() -> None:
    assert list(KNOWN) == ["lam", "members", "name", "on", "ks", "parts", "weights", "kind"]
    assert KNOWN["lam"].default == 0.5
    assert KNOWN["lam"].help == "The price of a nat.", "the first sentence of the docstring's Args"
    assert list(flags.of(Loop, without=())) == [
        "max_steps",
        "batch_size",
        "num_generations",
        "epochs",
        "mini_batch_size",
        "learning_rate",
        "warmup_steps",
        "seed",
    ]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("--lam 0.25", {"lam": 0.25}),
        ("--lam=-1e-3", {"lam": -0.001}),
        ("--lam -2", {"lam": -2.0}),
        ("--members 4", {"members": 4}),
        ("--name 12", {"name": "12"}),
        ("--kind b", {"kind": "b"}),
        ("--on", {"on": True}),
        ("--no-on", {"on": False}),
        ("--on=false", {"on": False}),
        ("--on --lam 1", {"on": True, "lam": 1.0}),
        ("--on false", {"on": False}),
        ("--on true", {"on": True}),
        ("--ks 1,2,3", {"ks": (1, 2, 3)}),
        ("--ks [4]", {"ks": (4,)}),
        ("--parts 0.5,1", {"parts": [0.5, 1.0]}),
        ("--parts null", {"parts": None}),
        ('--weights {"a":1.5}', {"weights": {"a": 1.5}}),
        ("--weights a=1.5,b=2", {"weights": {"a": 1.5, "b": 2.0}}),
        ("", {}),
    ],
)
def test_text_becomes_the_value_its_annotation_says(line: str, values: dict[str, Any]) -> None:
    found = parsed(*line.split())
    assert found == values
    assert [type(found[k]) for k in values] == [type(v) for v in values.values()]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--lam abc", "--lam is 'abc', and a number was expected"),
        ("--lam nan", "--lam is 'nan', and a number was expected"),
        ("--members 2.5", "--members is '2.5', and a whole number was expected"),
        ("--on=maybe", "--on is 'maybe', and true or false was expected"),
        ("--kind c", "--kind is 'c', and a or b was expected"),
        (
            "--ks 1,b",
            r"--ks is '1,b', and a list, such as 1,2,3 \(a whole number each\) was expected",
        ),
        ("--member 3", "recipe has no --member; did you mean --members?"),
        ("--zzz 3", "recipe has no --zzz; there are --lam, --members"),
        ("-z", "recipe has no -z; there are --lam, --members"),
        ("--lam", "--lam needs a value: a number"),
        ("--lam --on", "--lam needs a value: a number"),
        ("--lam 1 --lam 2", "--lam is given twice"),
        (
            "--weights {",
            "--weights is '{', and a list of pairs, such as prompt=question or null was expected",
        ),
        ("--weights a=x", "--weights is 'a=x'"),
        ("--weights a", "--weights is 'a'"),
        ("a", "assay run takes no arguments, and found 'a'"),
    ],
)
def test_what_is_refused_is_named(line: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parsed(*line.split())


def test_words_and_flags_are_told_apart() -> None:
    known = {
        n: flags.Flag(n, t, also=a)
        for n, t, a in (
            ("json", bool, ()),
            ("out", str, ("-o",)),
            ("lam", float, ("--price",)),
            ("two_words", str, ()),
        )
    }
    words, given = parse(
        ["a", "--json", "b", "-o", "x", "--price=1", "--two-words", "v"],
        Grammar("run", known, [Words("rest", many=True)]),
    )
    assert words == ["a", "b"]
    assert given == {"json": True, "out": "x", "lam": "1", "two_words": "v"}
    assert parse(["--two_words", "v"], Grammar("run", known))[1] == {"two_words": "v"}, (
        "an underscore is a hyphen"
    )


@pytest.mark.parametrize(
    ("typed", "known", "flag"),
    [
        ("policies_", ["policies", "seed"], ["policies"]),
        ("noise", ["seed", "world.noise"], ["world.noise"]),
        ("world.lr", ["learning_rate", "world.sft_lr"], ["world.sft_lr"]),
        ("wrld.noise", ["seed", "world.noise"], ["world.noise"]),
        ("clip", ["watch.flip", "epsilon_low", "epsilon_high"], ["epsilon_low", "epsilon_high"]),
        ("clip", ["watch.flip", "beta"], []),
        ("policy", ["policies", "world.model"], ["world.model"]),
        ("policy", ["policies"], []),
        ("lr", ["learning_rate"], ["learning_rate"]),
        ("kl_coef", ["lam", "beta"], ["beta"]),
        ("num_train_epochs", ["epochs"], ["epochs"]),
        ("per_device_train_batch_size", ["batch_size", "micro_batch_size"], ["batch_size"]),
        ("max_completion_length", ["world.max_tokens"], ["world.max_tokens"]),
        ("batchsize", ["batch_size", "mini_batch_size"], ["batch_size"]),
    ],
)
def test_a_suggestion_goes_by_meaning_then_by_prefix_then_by_spelling(
    typed: str, known: list[str], flag: list[str]
) -> None:
    assert meant(typed, known) == flag


def test_a_grid_is_the_product_with_the_last_name_fastest() -> None:
    assert flags.grid(["lam=0,.5", "members=1..2"], KNOWN, "recipe") == [
        {"lam": 0.0, "members": 1},
        {"lam": 0.0, "members": 2},
        {"lam": 0.5, "members": 1},
        {"lam": 0.5, "members": 2},
    ]
    assert flags.grid(["ks=[1,2],[3]"], KNOWN, "recipe") == [{"ks": (1, 2)}, {"ks": (3,)}]
    assert flags.grid([], KNOWN, "recipe") == [{}]
    assert several("0,.1") == ["0", ".1"]
    for over, sentence in (
        (["lum=1"], "no --lum to vary; did you mean --lam"),
        (["lam"], "a name with its values"),
        (["lam=1", "lam=2"], "given twice"),
        (["members=4..0"], "the smaller number first"),
    ):
        with pytest.raises(InputError, match=sentence):
            flags.grid(over, KNOWN, "recipe")


def test_loop_is_flags_then_own_then_world() -> None:
    """What a recipe gives stays, also a default value, whatever the world says; a flag wins."""

    def patient(task: Any, *, loop: Loop = Loop(epochs=1, num_generations=8)) -> None:
        """A recipe that insists on two default values."""

    world = Loop(max_steps=40, learning_rate=0.05)
    assert catalogue.loop_of(recipe, world, {"max_steps": 7}) == Loop(
        max_steps=7, learning_rate=0.05, epochs=2
    )
    assert catalogue.loop_of(recipe, None, {}) == Loop(epochs=2)
    assert catalogue.loop_of(recipe, Loop(epochs=3), {}).epochs == 2
    busy = Loop(epochs=3, num_generations=128, batch_size=64)
    assert catalogue.loop_of(patient, busy, {}) == Loop(epochs=1, num_generations=8, batch_size=64)
    assert catalogue.loop_of(patient, busy, {"epochs": 5}).epochs == 5
    assert (
        catalogue.loop_of(recipe, Loop(epochs=3), {"epochs": 1}).epochs == 1
    )  # a flag may say the plain value too


def test_a_flag_without_a_default_says_so() -> None:
    def needy(task: Any, *, path: str, loop: Loop = Loop()) -> None:
        """Do.

        Args:
            path: The file to read.
        """

    known = flags.of(needy)
    assert known["path"].default is REQUIRED
    with pytest.raises(InputError, match="--path is required: the file to read"):
        flags.required(known, {})
    flags.required(known, {"path": "x"})


def test_an_annotation_that_cannot_be_read_is_a_sentence() -> None:
    def odd(*, x: Nowhere = 1) -> None: ...  # type: ignore[name-defined]

    with pytest.raises(InputError, match="annotations of .*odd cannot be read"):
        flags.of(odd)


@dataclass(frozen=True)
class Pair:
    a: int = 1
    b: float = 2.0


def test_a_dataclass_has_flags_too() -> None:
    assert {k: f.type for k, f in flags.of(Pair).items()} == {"a": int, "b": float}


def test_columns_may_stand_one_after_another() -> None:
    known = {n: flags.Flag(n, dict[str, str]) for n in ("columns", "world.columns")}
    grammar = Grammar("check", known, [Words("files", many=True)])
    words, given = parse(
        ["a.jsonl", "--columns", "prompt=q", "chosen=good", "b.jsonl", "--world.columns", "p=x"],
        grammar,
    )
    assert words == ["a.jsonl", "b.jsonl"]
    assert given == {"columns": "prompt=q,chosen=good", "world.columns": "p=x"}
    assert parse(["--columns", "prompt=q", "data/x=1.jsonl"], grammar)[0] == ["data/x=1.jsonl"], (
        "a path is no column"
    )
