"""Help, the manual's tables and the API reference are made from docstrings, so these are whole."""

from __future__ import annotations

import inspect
import re
from typing import Any

from test_contract import MODULES, each

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
