"""On which scale a label column is: decided from the whole file, asked for where it stays open."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from labelled_rows import AB, NUMBERED, asked, first_wins, rows, scan, typed

from assay.data.label_map import label_map
from assay.data.stream import stream
from assay.errors import InputError


@pytest.mark.parametrize("names", [NUMBERED, ("output_1", "output_2")])
@pytest.mark.parametrize("kind", [int, float, str])
def test_a_two_makes_zero_a_tie(names: tuple[str, str], kind: Any) -> None:
    some = rows(names, "label", [kind(v) for v in (0, 1, 2)])
    assert first_wins(some) == [0.5, 1.0, 0.0]


def test_zero_one_and_two_beside_letters_are_asked_for() -> None:
    said = asked(rows(AB, "label", [0, 1, 2]))  # 0 may be a tie, or the first as LMSYS counts
    assert "--label-map 0=first,1=second,2=tie if 2 is a tie" in said
    assert "--label-map 1=first,2=second,0=tie if 0 is one" in said


def test_one_and_two_alone_are_first_and_second() -> None:
    assert first_wins(rows(AB, "preference", [1, 2, 2])) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("names", [AB, NUMBERED, ("answer_a", "answer_b")])
def test_zero_and_one_beside_other_names_are_asked_for(names: tuple[str, str]) -> None:
    some = rows(names, "label", [0, 1, 1])
    said = asked(some)
    assert "file, column 'label': it holds 0 (1 ×) and 1 (2 ×)" in said
    high, low = "1=first,0=second", "0=first,1=second"
    assert f"--label-map {high} if 1 means that {names[0]} is better" in said
    assert f"--label-map {low} if 0 does" in said
    for text, want in ((high, [0.0, 1.0, 1.0]), (low, [1.0, 0.0, 0.0])):
        assert first_wins(some, label_map=typed(text)) == want


def test_the_whole_file_decides_and_not_its_first_rows(tmp_path: Path) -> None:
    values = [0, 1] * 100
    assert first_wins(rows(NUMBERED, "label", [*values, 2]))[:2] == [0.5, 1.0]
    assert "0 (100 ×) and 1 (100 ×)" in asked(rows(AB, "label", values))
    late = asked(rows(AB, "label", [1, 2] * 100 + [5]))
    assert "1 (100 ×), 2 (100 ×) and 5 (1 ×)" in late
    path = tmp_path / "late.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows(AB, "label", values)))
    with pytest.raises(InputError, match="--label-map 1=first,0=second"):
        list(stream(path, "pairs"))
    pairs = list(stream(path, "pairs", label_map={0: "first", 1: "second"}))
    assert [p.chosen for p, _ in pairs[:2]] == ["one", "two"] and len(pairs) == 200


@pytest.mark.parametrize(
    ("values", "high", "low"),
    [
        ([-1, 1], "1=first,-1=second", "1=second,-1=first"),
        ([-1, 0, 1], "1=first,0=tie,-1=second", "1=second,0=tie,-1=first"),
        (
            [1, 2, 3, 4, 5],
            "5=first,4=first,3=tie,2=second,1=second",
            "1=first,2=first,3=tie,4=second,5=second",
        ),
        ([2, 5], "5=first,2=second", "2=first,5=second"),
        ([1, 10], "10=first,1=second", "1=first,10=second"),
        ([0, 0.5, 1], "1=first,0.5=tie,0=second", "0=first,0.5=tie,1=second"),
        ([True, False], "true=first,false=second", "false=first,true=second"),
        (["True", "False"], "true=first,false=second", "false=first,true=second"),
        ([1], "1=first,0=second", "0=first,1=second"),
        ([[0, 1], [1, 1]], "1=first,0=second", "0=first,1=second"),
    ],
)
def test_every_open_scale_shows_a_map_for_both_directions(
    values: list[Any], high: str, low: str
) -> None:
    some = rows(AB, "label", values)
    said = asked(some)
    assert f"--label-map {high} " in said and f"--label-map {low} " in said
    up, down = (first_wins(some, label_map=typed(text)) for text in (high, low))
    assert [round(1 - p, 6) for p in down] == up and set(up) != {0.5}


def test_zero_based_answers_with_a_two_are_asked_for() -> None:
    assert "--label-map" in asked(rows(("response_0", "response_1"), "label", [0, 1, 2]))


def test_many_different_numbers_are_a_probability_or_asked_for_as_one() -> None:
    some = rows(AB, "label", [i / 20 for i in range(21)])
    said = asked(some)
    assert "21 different numbers from 0 to 1" in said
    flag = re.search(r"--columns (\S+)", said)
    assert flag and flag[1] == "chosen=response_a,rejected=response_b,p=label"
    assert first_wins(some, columns=typed(flag[1]))[::5] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert "p=ITS_NAME" in asked(rows(AB, "label", list(range(40))))


def test_raters_follow_the_files_scale() -> None:
    assert first_wins(rows(NUMBERED, "raters", [[1, 1, 2], [0, 2]])) == [0.666667, 0.25]
    some = rows(AB, "raters", [[0, 1, 1], ["tie"]])
    assert first_wins(some, label_map={1: "first", 0: "second"}) == [0.666667, 0.5]
    part = first_wins(some, label_map={1: "first", 0: "second", "TIE": "drop"})
    assert part == [0.666667]


def test_a_map_of_words_leaves_the_other_words_as_they_are() -> None:
    some = rows(AB, "winner", ["model_a", "unsure", "skipped", None])
    given = {"unsure": 0.6, "skipped": "drop", "null": "drop"}
    assert first_wins(some, label_map=given) == [1.0, 0.6]


def test_a_value_that_the_map_lacks_is_a_fault_of_its_row() -> None:
    found = scan(rows(AB, "label", [1, 0, 7]), label_map={1: "first", 0: "second"})
    assert found.faults.errors == {"unknown verdict": 1} and found.faults.shown[0].row == 3
    assert "1 = response_a is better, 0 = response_b" in str(found.faults.shown[0])


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"1": "left"}, "--label-map 1=left: 'left' is none of first, second, tie and drop"),
        ({"1": "1.5"}, "no probability from 0 to 1"),
        ({"1": "first", 1: "second"}, "'1' is given twice"),
    ],
)
def test_a_map_that_says_something_else_is_refused(given: Mapping[Any, Any], word: str) -> None:
    with pytest.raises(InputError, match=re.escape(word)):
        label_map(given)


def test_a_map_without_a_label_column_is_told() -> None:
    pairs = [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert scan(pairs, label_map={1: "first"}).faults.warnings == {"label map not used": 1}


def test_a_map_is_refused_by_a_run_whose_pairs_have_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")
    with pytest.raises(InputError, match="no column of labels; leave --label-map out"):
        list(stream(path, "pairs", label_map={1: "first"}))


def test_two_columns_that_may_each_be_the_verdict_are_asked_for() -> None:
    some = rows(AB, "winner", ["a"], preference=2)
    assert "choose one with --columns verdict=preference" in asked(some)
    assert first_wins(some, columns={"verdict": "winner"}) == [1.0]


def test_a_margin_or_p_of_some_rows_only() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    found = scan([{**pair, "margin": 2, "p": 0.9}, {**pair, "margin": None}, pair])
    assert not found.faults.errors
    assert [(x.margin, x.p) for x in found.items] == [(2, 0.9), (0, 1), (0, 1)]
    assert found.faults.warnings["no margin"] == found.faults.warnings["no p"] == 2


def test_ratings_are_no_margin_and_a_contradiction_is_counted() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    some = [{**pair, "score_chosen": c, "score_rejected": r} for c, r in ((9, 3), (4, 4), (2, 7))]
    found = scan(some)
    assert [x.margin for x in found.items] == [0, 0, 0]
    assert found.faults.warnings["rejected is rated higher"] == 1
    shown = next(f for f in found.faults.warned if f.kind == "rejected is rated higher")
    assert shown.row == 3 and "7, and score_chosen is 2" in str(shown)
