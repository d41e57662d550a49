"""The code block of docs/how-to/write-a-recipe.md is a recipe, and it is GRPO step for step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assay.cli import main
from assay.records.runs import Run

PAGE = Path(__file__).resolve().parents[1] / "docs" / "how-to" / "write-a-recipe.md"
COMPARED = ("step", "gold", "proxy", "kl")


def _block() -> str:
    found = re.search(r'```python title="my_grpo.py"\n(.*?)```', PAGE.read_text("utf-8"), re.S)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("settings", [[], ["--epochs", "2", "--mini-batch-size", "8"]])
def test_the_page_writes_grpo(tmp_path: Path, settings: list[str]) -> None:
    """Gold, proxy and KL are equal at every step, with one update a step and with several."""
    mine = tmp_path / "my_grpo.py"
    mine.write_text(_block(), encoding="utf-8")
    said = ["--world", "table", "--max-steps", "4", "--eval-steps", "1", "--seed", "3", *settings]
    for recipe, out in ((str(mine), "mine"), ("grpo", "theirs")):
        assert main(["run", recipe, *said, "--out", str(tmp_path / out), "--quiet"]) == 0
    readings = [Run.open(tmp_path / out).readings() for out in ("mine", "theirs")]
    assert len(readings[0]) == len(readings[1]) >= 5
    for a, b in zip(*readings, strict=True):
        assert [a[k] for k in COMPARED] == [b[k] for k in COMPARED]
    assert readings[0][1]["gold"] != readings[0][-1]["gold"]


def test_it_has_about_thirty_lines() -> None:
    """The heading says 30: blank lines, imports and the docstring do not count."""
    lines = [line for line in _block().splitlines() if line.strip()]
    body = [line for line in lines if not line.startswith(("import", "from", '"""'))]
    assert len(body) <= 30
