"""The examples in the docstrings of the watch, of its statistics and of what it talks through."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    *sorted((ROOT / "assay" / "watch").rglob("*.py")),
    *sorted((ROOT / "assay" / "interop").glob("*.py")),
    ROOT / "assay" / "stats" / "agreement.py",
    ROOT / "assay" / "stats" / "trends.py",
    ROOT / "assay" / "data" / "http.py",
]
WITH_EXAMPLES = [p for p in FILES if ">>>" in p.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda p: p.stem)
def test_an_example_does_what_it_says(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0
