"""The signature is the configuration: what a flag's text becomes, and what is refused, in one
sentence each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from assay.cli import flags
from assay.core import Loop
from assay.errors import InputError
from assay.registry import catalogue


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
    loop: Loop = Loop(epochs=2),
) -> None:
    """A recipe with a constant of every kind."""


def parsed(line: str) -> dict[str, Any]:
    known = flags.of(recipe)
    _, given = flags.split(line.split(), [k for k, f in known.items() if f.switch])
    return flags.parse(given, known, "recipe")


def test_flags_are_the_keyword_only_parameters() -> None:
    known = flags.of(recipe)
    assert list(known) == ["lam", "members", "name", "on", "ks", "parts", "weights"]
    assert known["lam"].default == 0.5
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
        ("--on", {"on": True}),
        ("--no-on", {"on": False}),
        ("--on=false", {"on": False}),
        ("--on --lam 1", {"on": True, "lam": 1.0}),
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
    found = parsed(line)
    assert found == values
    assert [type(v) for v in found.values()] == [type(v) for v in values.values()]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--lam abc", "--lam is 'abc', and a number was expected"),
        ("--lam nan", "--lam is 'nan', and a number was expected"),
        ("--members 2.5", "--members is '2.5', and a whole number was expected"),
        ("--on=maybe", "--on is 'maybe', and true or false was expected"),
        (
            "--ks 1,b",
            r"--ks is '1,b', and a list, such as 1,2,3 \(a whole number each\) was expected",
        ),
        ("--member 3", "recipe has no --member; did you mean --members?"),
        ("--zzz 3", "recipe has no --zzz; there are --ks, --lam"),
        ("--lam", "--lam needs a value: a number"),
        ("--lam 1 --lam 2", "--lam is given twice"),
        (
            "--weights {",
            "--weights is '{', and a list of pairs, such as prompt=question or null was expected",
        ),
        ("--weights a=x", "--weights is 'a=x'"),
        ("--weights a", "--weights is 'a'"),
    ],
)
def test_what_is_refused_is_named(line: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parsed(line)


def test_words_and_flags_are_told_apart() -> None:
    words, given = flags.split(
        ["a", "--json", "b", "-o", "x", "--lam=1", "--two-words", "v"], ["json"]
    )
    assert words == ["a", "b"]
    assert given == [("json", None), ("out", "x"), ("lam", "1"), ("two_words", "v")]


def test_a_grid_is_the_product_with_the_last_name_fastest() -> None:
    known = flags.of(recipe)
    assert flags.grid(["lam=0,.5", "members=1..2"], known, "recipe") == [
        {"lam": 0.0, "members": 1},
        {"lam": 0.0, "members": 2},
        {"lam": 0.5, "members": 1},
        {"lam": 0.5, "members": 2},
    ]
    assert flags.grid(["ks=[1,2],[3]"], known, "recipe") == [{"ks": (1, 2)}, {"ks": (3,)}]
    assert flags.grid([], known, "recipe") == [{}]
    for over, sentence in (
        (["lum=1"], "no --lum to vary; did you mean --lam"),
        (["lam"], "a name with its values"),
        (["lam=1", "lam=2"], "given twice"),
        (["members=4..0"], "the smaller number first"),
    ):
        with pytest.raises(InputError, match=sentence):
            flags.grid(over, known, "recipe")


def test_loop_is_own_then_world_then_flags() -> None:
    """A recipe's own constant stays where the world says nothing of it; a flag is above both."""
    world = Loop(max_steps=40, learning_rate=0.05)
    assert catalogue.loop_of(recipe, world, {"max_steps": 7}) == Loop(
        max_steps=7, learning_rate=0.05, epochs=2
    )
    assert catalogue.loop_of(recipe, None, {}) == Loop(epochs=2)
    assert catalogue.loop_of(recipe, Loop(epochs=3), {}).epochs == 3
    assert (
        catalogue.loop_of(recipe, Loop(epochs=3), {"epochs": 1}).epochs == 1
    )  # a flag may say the plain value too


def test_a_flag_without_a_default_says_so() -> None:
    def needy(task: Any, *, path: str, loop: Loop = Loop()) -> None: ...

    assert flags.of(needy)["path"].default is flags.REQUIRED


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
    words, given = flags.split(
        ["a.jsonl", "--columns", "prompt=q", "chosen=good", "b.jsonl", "--world.columns", "p=x"]
    )
    assert words == ["a.jsonl", "b.jsonl"]
    assert given == [("columns", "prompt=q,chosen=good"), ("world.columns", "p=x")]
    assert flags.split(["--columns", "prompt=q", "data/x=1.jsonl"])[0] == ["data/x=1.jsonl"], (
        "a path is no column"
    )
