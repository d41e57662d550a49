"""Every example in a docstring does what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
from families import checkpoint

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "assay").rglob("*.py"))
WITH_EXAMPLES = [p for p in FILES if ">>>" in p.read_text(encoding="utf-8")]


@pytest.fixture
def tiny_model(tmp_path: Path) -> str:
    """The folder of a small language model with random weights, for examples."""
    return str(checkpoint(tmp_path / "tiny_model", "llama"))


@pytest.mark.parametrize(
    "path",
    WITH_EXAMPLES,
    ids=lambda p: ".".join(p.relative_to(ROOT / "assay").with_suffix("").parts),
)
def test_an_example_does_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    found = doctest.testmod(
        importlib.import_module(name), extraglobs={"getfixture": request.getfixturevalue}
    )
    assert found.failed == 0
