"""Docstrings as data: sections, several names for one text, prose lists, and what no parser
understands.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.registry import docstrings
from assay.registry.parameters import REQUIRED, from_text, parameters

TEXT = """Fit a reward.

    It takes a file.
    And more.

    Args:
        path: A file. It is read once,
            from its beginning.
        lr, warmup: Of the optimiser.
        shape (Float[Tensor, "B"]): With a type.

    Returns:
        The reward.

    Raises:
        InputError: The file is empty.

    Source: Coste et al. (2023), equation 4

    Example:
        >>> 1 + 1
        2
    """


def test_a_google_docstring_has_its_parts() -> None:
    found = docstrings.parse(TEXT)
    assert (found.summary, found.body) == ("Fit a reward.", "It takes a file.\nAnd more.")
    assert found.arguments == {
        "path": "A file. It is read once, from its beginning.",
        "lr": "Of the optimiser.",
        "warmup": "Of the optimiser.",
        "shape": "With a type.",
    }
    assert found.returns == "The reward."
    assert found.raises == {"InputError": "The file is empty."}
    assert found.sections["source"] == "Coste et al. (2023), equation 4"
    assert ">>> 1 + 1" in found.sections["examples"]


def test_a_list_in_prose_is_read_for_the_names_of_the_signature() -> None:
    found = docstrings.parse(
        "beta: weight of k3; low, high: the clip range: [1−low, 1+high]. Not: a name.",
        ["beta", "low", "high"],
    )
    assert found.arguments == {
        "beta": "weight of k3",
        "low": "the clip range: [1−low, 1+high]. Not: a name.",
        "high": "the clip range: [1−low, 1+high]. Not: a name.",
    }
    assert found.summary == ""
    assert docstrings.parse("Read: a file.", ["beta"]).arguments == {}


@pytest.mark.parametrize(
    "text", [None, "", "One line.", "Args:", "Args:\n    no colon here\n", "A.\n\nReturns:\n"]
)
def test_whatever_it_is_nothing_is_raised(text: str | None) -> None:
    assert isinstance(docstrings.parse(text), docstrings.Docs)


def test_sentences_for_places_of_one_line() -> None:
    assert (
        docstrings.first_sentence("Rows a pass, e.g. Four. The rest.") == "Rows a pass, e.g. Four."
    )
    assert docstrings.clause("The folder. It is new.") == "the folder"
    assert docstrings.clause("KL in nats.") == "KL in nats"
    assert docstrings.reflowed("a\nb\n\n  c\n  d") == "a b\n\n  c\n  d"


CODE = '''
from assay.elsewhere import Odd
MOST = (1, 2)
def plain(task, *, a: int = 1, b: float | None = None, ks: tuple[int, ...] = MOST, x,
          kind: "str" = "y", loop=Odd()):
    """Do.

    Args:
        a: The first.
    """
def odd(*, a: Odd = 1): ...
def computed(*, a: int = len("x")): ...
raise SystemExit("this file was run")
'''


def test_a_signature_is_read_from_text_without_running_it(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(CODE)
    found = from_text(path, "plain")
    assert found is not None
    assert {k: (p.type, p.default) for k, p in found.items() if k != "x"} == {
        "a": (int, 1),
        "b": (float | None, None),
        "ks": (tuple[int, ...], (1, 2)),
        "kind": (str, "y"),
    }
    assert found["x"].default is REQUIRED
    assert found["a"].help == "The first."
    assert (
        from_text(path, "odd") is from_text(path, "computed") is from_text(path, "nowhere") is None
    )


def test_text_and_import_say_the_same() -> None:
    """Of every recipe and world that can be read from its text."""
    from assay.registry import catalogue

    functions = [(e.path, e.verb, getattr(catalogue.load(e), e.verb)) for e in catalogue.entries()]
    functions += [
        (catalogue.find_world(w), "world", catalogue.load_world(w)) for w in catalogue.worlds()
    ]
    read = 0
    for path, name, function in functions:
        text = from_text(path, name)
        if text is None:
            continue
        read += 1
        real = {
            k: p
            for k, p in parameters(function).items()
            if p.kind == "KEYWORD_ONLY" and k != "loop"
        }
        assert text == real, path
    assert read > 0.9 * len(functions), "help of the others has to import torch"
