"""Every claim can come out either way: its effect and the rule, on arms made by hand for which the
paper is right and for which it is wrong.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from verdicts.curves import run
from verdicts.recipes import FALSE, TRUE

from assay.core import Claim
from assay.evidence import rule, spending, tuning
from assay.evidence.claims import claim_of
from assay.evidence.result import Reads, add, empty, numbered
from assay.evidence.result_files import folder, read
from assay.registry import catalogue

Arms = dict[str, list[dict[str, Any]]]
ENTRIES = [e for e in catalogue.entries() if e.statement]
JUDGED = {e.name: e for e in ENTRIES if claim_of(e).least is not None}


def arms_of(name: str, side: str) -> Callable[[int], Arms]:
    """The function that makes a claim's arms of one seed."""
    if importlib.util.find_spec(f"verdicts.{name}"):
        made: Callable[[int], Arms] = getattr(importlib.import_module(f"verdicts.{name}"), side)
        return made
    curves = (TRUE if side == "true" else FALSE)[name]

    def arms(seed: int) -> Arms:
        noise = random.Random(seed)
        shaken = {
            arm: [g if i == 0 else g + noise.gauss(0, 0.01) for i, g in enumerate(golds)]
            for arm, golds in curves.items()
        }
        return {arm: run(golds) for arm, golds in shaken.items()}

    return arms


def said(name: str, arms: Callable[[int], Arms]) -> dict[str, Any]:
    """What the rule says of a claim on arms made by hand."""
    entry, claim = JUDGED[name], claim_of(JUDGED[name])
    world = next(w for w in claim.worlds if numbered(claim, w))
    pilot: dict[str, Any] = {"chosen": {}}
    result = empty(entry, claim, {"name": world}, {}, pilot)
    for seed in result["numbered"]:
        made = Reads()
        made.update(arms(seed))
        add(result, claim, seed, made)
        for arm in made.read:
            spending.add(result["spent"], spending.spent(arm, dict.__getitem__(made, arm)))
    return rule.judged(result)


@pytest.mark.parametrize("name", JUDGED)
def test_a_claim_holds_where_its_paper_is_right(name: str) -> None:
    row = said(name, arms_of(name, "true"))
    assert row["verdict"] == rule.HOLDS, row["why"]


@pytest.mark.parametrize("name", JUDGED)
def test_a_claim_does_not_hold_where_its_paper_is_wrong(name: str) -> None:
    row = said(name, arms_of(name, "false"))
    assert row["verdict"] == rule.FAILS, row["why"]


def test_constraints_that_are_not_held_decide_nothing_and_a_rival_that_ties_decides() -> None:
    from verdicts import constrained, constrained_search, refutation, spark, warm

    assert said("constrained", constrained.not_held)["verdict"] == rule.UNDECIDED
    search = "constrained_search"
    assert said(search, constrained_search.not_reached)["verdict"] == rule.UNDECIDED
    assert said(search, constrained_search.bought)["verdict"] == rule.FAILS
    assert said("warm", warm.not_memorised)["verdict"] == rule.UNDECIDED
    assert said("refutation", refutation.unhurt)["verdict"] == rule.UNDECIDED
    assert said("spark", spark.cannot_judge)["verdict"] == rule.UNDECIDED


def test_policies_that_do_not_fit_their_pairs_decide_nothing() -> None:
    from verdicts import direct_alignment_sizes

    row = said("direct_alignment_sizes", direct_alignment_sizes.not_fitted)
    assert row["verdict"] == rule.UNDECIDED and "pairs are fitted" in row["why"]


@pytest.mark.parametrize("path", sorted(folder(None).glob("*.json")), ids=lambda p: p.stem)
def test_a_result_that_came_with_assay_is_of_the_claim_as_it_stands(path: Path) -> None:
    """δ, seeds, arms and control are those that stood in the file when the seeds were run."""
    result = read(path)
    if result.get("outdated") or result.get("least") is None:
        assert rule.judged(result)["verdict"] == rule.NONE
        return
    claim, world = claim_of(JUDGED[result["name"]]), result["world"]["name"]
    pilot = json.loads((path.parent / "pilots" / path.name).read_text(encoding="utf-8"))
    said = json.loads(json.dumps(empty(JUDGED[result["name"]], claim, result["world"], {}, pilot)))
    for field in ("statement", "arms", "least", "numbered", "control", "premises", "differs"):
        assert result[field] == said[field], field
    assert pilot["key"] == tuning.key(claim, result["world"], result["flags"])
    assert set(result["seeds"]) >= set(numbered(claim, world))


@pytest.mark.parametrize("name", JUDGED)
def test_a_claim_says_what_the_rule_asks_for(name: str) -> None:
    claim: Claim = claim_of(JUDGED[name])
    assert claim.control and claim.broken, "a negative control, and what it breaks"
    worlds = claim.seeds if isinstance(claim.seeds, dict) else claim.worlds[:1]
    assert all(len(numbered(claim, w)) >= rule.SEEDS for w in worlds)
    assert set(claim.control).isdisjoint(claim.premises)
