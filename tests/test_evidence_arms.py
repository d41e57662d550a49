"""The arms of a claim: what cannot be kept is refused where it comes up, not when a result is
saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError
from assay.evidence.arms import Seed, finite
from assay.registry import catalogue

STUDY = '''"""A study whose second line cannot be kept."""
from assay.core import Paper
paper = Paper("Mine", "Me", 2026, "")

def study(world):
    yield {"loss": 1.0}
    yield {"loss": {"held out": [0.5, float("nan")]}}
    raise AssertionError("it is not asked for more")
'''


def test_a_line_that_is_not_finite_is_refused_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(STUDY)
    there = Seed(catalogue.load_world("study"), 7, {})
    with pytest.raises(InputError, match=r"on seed 7 yields nan as loss\.held out\[1\]"):
        there.arm(str(tmp_path / "broken.py"), {})


@pytest.mark.parametrize("line", [{}, {"a": 1}, {"a": [1.0, None, "x"], "b": {"c": True}}])
def test_a_line_of_json_values_stays_as_it_is(line: dict[str, Any]) -> None:
    assert finite(line, "mine", 0) is line
