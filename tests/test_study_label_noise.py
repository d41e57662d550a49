"""An audit corrected by raters' own noise matrices, with planted raters and with people's votes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from assay.core import InputError, World
from assay.formulas.noise import dawid_skene
from assay.loops import votes as real
from assay.recipes import label_noise
from assay.worlds import table

PEOPLE = (
    Path(os.environ.get("ASSAY_DATA") or Path(__file__).parents[1] / "data")
    / "pandalm_three_raters.jsonl.gz"
)


@pytest.fixture(scope="module")
def bag() -> World:
    return table.world(pairs=200, members=2, seed=3)


def test_an_audit_is_corrected_where_raters_err_apart_and_not_where_they_copy(bag: World) -> None:
    lines = {
        x["raters"]: x for x in label_noise.study(bag, items=40000) if x.get("kind") != "spent"
    }
    one = lines["independent"]
    assert one["global_error"] < 0.02 < one["raw_error"]
    assert one["global_error"] < one["majority_error"]
    assert one["global_error"] < one["exchanged_error"]
    assert one["rates_error_closed"] < 0.02 < 0.035 < one["rates_error_majority"]
    # exchanged matrices cancel in the average over raters, and not for single ones
    assert one["exchanged_error"] < 0.5 * one["raw_error"]
    assert one["other_matrix_error"] > 2 * one["own_matrix_error"]
    lean = lines["leaning"]
    assert lean["local_error"] < 0.03 < lean["global_error"]
    copied = lines["copying"]["rates_error_closed"]
    assert copied > 3 * one["rates_error_closed"], "what the method rests on is broken"
    assert label_noise.claim.effect is not None
    effect = label_noise.claim.effect({"study": list(lines.values())})
    assert isinstance(effect, dict) and min(effect.values()) > 0
    with pytest.raises(InputError, match="two error rates below 0.5"):
        next(label_noise.study(bag, rates=(0.1,)))
    with pytest.raises(InputError, match=r"--lean is 2\.0"):
        next(label_noise.study(bag, lean=2.0))


def test_what_cannot_be_solved_is_null_and_no_verdict() -> None:
    torch.manual_seed(0)
    votes = torch.tensor([[0, 1, 0], [1, 0, 1]] * 50)
    truth = torch.tensor([0, 1] * 50)
    line = label_noise.compared(votes, truth, truth)
    assert line["global_error"] is None and line["raw_error"] is not None
    lines = [{"raters": name, **line} for name in ("independent", "leaning")]
    assert label_noise.claim.effect is not None
    with pytest.raises(ValueError, match="no noise matrix"):
        label_noise.claim.effect({"study": lines})


@pytest.mark.full
def test_real_votes_come_from_a_file_and_a_bad_row_is_named(bag: World, tmp_path: Path) -> None:
    file = tmp_path / "votes.jsonl"
    rng = torch.Generator().manual_seed(0)
    rows, right = [], 0
    for i in range(1500):
        truth = i % 3
        votes = [
            truth
            if torch.rand((), generator=rng) < 0.75
            else int(torch.randint(3, (), generator=rng))
            for _ in range(3)
        ]
        long = 2 if torch.rand((), generator=rng) < 0.5 else 1
        if truth and torch.rand((), generator=rng) < 0.6:
            long = truth  # length is right at 0.8 of pairs that are no tie
        right += bool(truth) and long == truth
        texts = ["a", "a longer text"] if long == 2 else ["a longer text", "a"]
        rows.append(
            {"prompt": "p", "response_1": texts[0], "response_2": texts[1], "raters": votes}
        )
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    lines = list(label_noise.study(bag, items=200, raters=str(file)))
    people = [x for x in lines if str(x.get("raters")).startswith("people")]
    assert len(people) == 5 and people[3]["items"] == 1500
    assert sum(people[3]["shares"]) == pytest.approx(1)
    by = {x["by"]: x for x in lines if "audited" in x}
    true = right / 1000
    assert abs(by["global"]["accuracy"] - true) < 0.04
    assert abs(by["rater 0"]["accuracy"] - true) > 0.05, "an audit by noisy votes is too low"
    low, high = by["global"]["interval"]
    assert low < true < high
    judge = tmp_path / "judge.py"
    judge.write_text(
        "def short(prompts, completions):\n    return [-len(c) for c in completions]\n"
    )
    other = list(label_noise.study(bag, items=200, raters=str(file), judge=f"{judge}:short"))
    found = next(x for x in other if x.get("by") == "majority")["accuracy"]
    assert found == pytest.approx(1 - by["majority"]["accuracy"])
    file.write_text('{"raters": [1, 2, 2]}\n{"raters": [1, 3, 2]}\n')
    with pytest.raises(InputError, match=r"row 2, column 'raters' holds \[1, 3, 2\]"):
        next(label_noise.study(bag, raters=str(file)))


@pytest.mark.real
@pytest.mark.skipif(
    not PEOPLE.exists(), reason=f"{PEOPLE.name} is not in data/ (or in $ASSAY_DATA)"
)
def test_people_who_labeled_the_same_pairs() -> None:
    people = real.read(PEOPLE)
    fit = dawid_skene(people.votes, classes=3)
    lines = list(real.of_people(people.votes))
    assert len(people.votes) == 999 == len(people.pairs)
    assert all(0.9 < x["accuracy"] < 1 for x in lines[:3])
    assert fit.confusion.shape == (3, 3, 3)
    for seen, told in lines[3]["agreement_seen_and_fitted"]:
        assert seen == pytest.approx(told, abs=0.01)
