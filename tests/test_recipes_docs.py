"""Help, the manual's tables and the API reference are made from docstrings, so these are whole."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from test_contract import MODULES, each

from assay.errors import InputError
from assay.registry import catalogue


@each(MODULES)
def test_the_first_line_says_what_the_method_does(module: Any) -> None:
    first, *rest = inspect.getdoc(module).splitlines()  # type: ignore[union-attr]
    assert first.endswith((".", "?")) and (not rest or not rest[0])


@each(MODULES)
def test_every_constant_has_its_line(module: Any) -> None:
    verb = getattr(module, catalogue.find(module.__name__.rpartition(".")[2]).verb)
    constants = [
        p.name
        for p in inspect.signature(verb).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name != "loop"
    ]
    section = re.search(r"^Args:\n(.*?)(\n\n|\Z)", inspect.getdoc(verb) or "", re.S | re.M)
    said = re.findall(r"^    (\w+): \S", section.group(1), re.M) if section else []
    assert said == constants


def test_every_recipe_here_names_its_paper() -> None:
    """A method of one's own needs none."""
    assert [e.name for e in catalogue.entries() if not e.paper] == []


def test_the_readme_counts_the_methods_and_their_papers() -> None:
    papers = {e.paper["title"] for e in catalogue.entries()}
    said = f"[{len(catalogue.entries())} methods of {len(papers)} papers]"
    assert said in Path(__file__).resolve().parents[1].joinpath("README.md").read_text("utf-8")


def test_a_file_without_a_paper_is_a_recipe(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        '"""A method of mine.\n\nMore."""\nfrom assay.core import Loop\n\n\n'
        "def recipe(task, *, lam: float = 0.5, loop=Loop()):\n    yield\n"
    )
    entry = catalogue.find(str(mine))
    assert (entry.title, entry.paper, entry.fault) == ("A method of mine.", {}, None)
    with pytest.raises(InputError, match="mine names no paper; give its file a line"):
        catalogue.bibtex(entry)
