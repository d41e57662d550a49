"""The arms of a claim: what cannot be kept is refused where it comes up, not when a result is
saved.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from assay.core import Claim
from assay.errors import InputError
from assay.evidence.arms import Seed, finite
from assay.evidence.result_files import read, save
from assay.evidence.tuning import made_with, text
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


def test_a_result_keeps_the_verdicts_that_it_replaces(tmp_path: Path) -> None:
    """Of other seeds, or of another form of the claim; what is run again or extended is one look
    more at the same.
    """
    base: dict[str, Any] = {
        "name": "mine", "title": "T", "statement": "So.", "world": {"name": "table"},
        "turns": None, "least": 0.0, "control": [""], "drops": [], "notes": [],
        "arms": {"a": ["x", {}]}, "effects": [1.0, 1.1, 0.9, 1.2, 1.0], "made": "then",
        "spent": {a: {"labels": [1.0] * 5} for a in ("a", "b")},
    }  # fmt: skip

    def saved(first: int, **more: Any) -> list[dict[str, Any]]:
        seeds = list(range(first, first + 5))
        path = save({**base, "seeds": seeds, "numbered": seeds, **more}, tmp_path)
        return list(read(path)["earlier"])

    assert saved(100) == [] and saved(100) == []
    (one,) = saved(200)
    assert one["seeds"] == [100, 101, 102, 103, 104] and one["verdict"] == "holds here"
    assert saved(200) == [one]
    assert [e["seeds"][0] for e in saved(200, least=2.0)] == [100, 200]


def test_a_pilot_is_of_the_text_it_was_made_with() -> None:
    claim = Claim("So.", arms={})
    claim(lambda arms: 1.0)
    other = Claim("So.", arms={})
    other(lambda arms: 2.0)
    pilot = {"key": "k", "text": text(claim)}
    assert made_with(pilot, claim, "k") and not made_with(pilot, claim, "l")
    assert not made_with(pilot, other, "k") and made_with({"key": "k"}, other, "k")


def test_a_pilot_outlives_the_delta_that_is_set_by_it(tmp_path: Path) -> None:
    """δ and seeds stand in the decorator, and are written there once the pilot was seen."""
    body = 'from assay.core import Claim\n\n@Claim("So.", arms={}, least=%s)\ndef claim(arms):\n'
    body += "    return %s\n"
    said = []
    for i, of in enumerate((("None", "1.0"), ("0.5", "1.0"), ("0.5", "2.0"))):
        (tmp_path / f"claim_of_{i}.py").write_text(body % of)
        spec = importlib.util.spec_from_file_location(
            f"claim_of_{i}", tmp_path / f"claim_of_{i}.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        said.append(text(module.claim))
    assert said[0] == said[1] != said[2]


def test_a_world_without_pairs_spends_none() -> None:
    seed = Seed(catalogue.load_world("table"), 0, {})
    assert seed.pairs({"world.testbed": "trade", "world.members": 2, "world.prompts": 4}) == 0
    assert seed.pairs({"world.pairs": 17}) == 17
