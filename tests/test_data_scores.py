"""Which column is the score: by its name, or asked for; and what its words stand for."""

from __future__ import annotations

from typing import Any

import pytest

from assay import data
from assay.data.stream import stream
from assay.errors import InputError
from assay.registry.live import Live
from assay.rewards.fit_labels import labels


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    return [
        {"prompt": "q", "response": f"r{i}", **dict(zip(columns, cells, strict=True))}
        for i, cells in enumerate(zip(*columns.values(), strict=True))
    ]


def scan(some: list[dict[str, Any]], **options: Any) -> data.Scan:
    return data.scan_file(data.in_memory(some, "file"), keep=True, **options)


def scores(some: list[dict[str, Any]], **options: Any) -> list[float]:
    found = scan(some, **options)
    assert not found.faults.errors, found.faults.shown
    return [x.score for x in found.items]


def test_a_known_name_is_the_score_beside_other_numbers() -> None:
    some = rows(tokens=[7, 9], rating=[1, 5])
    assert scores(some) == [1, 5]
    assert [x.score for x in labels(data.in_memory(some, "file")).items] == [1, 5]
    assert scores(some, score="tokens") == [7, 9]


def test_two_known_names_are_asked_for() -> None:
    some = rows(score=[1, 2], rating=[0, 5])
    with pytest.raises(InputError, match=r"score and rating .*--score COLUMN") as why:
        scan(some)
    assert "score (1 to 2), rating (0 to 5)" in str(why.value)
    assert scores(some, score="rating") == [0, 5]


@pytest.mark.parametrize("text", ["good", "4/5"])
def test_a_known_name_that_holds_text_is_asked_for_and_no_other_column_taken(text: str) -> None:
    some = rows(rating=[text, text], length=[12, 30])
    with pytest.raises(InputError, match=f"column 'rating' holds '{text}'") as why:
        scan(some)
    assert "length (12 to 30)" in str(why.value)
    assert "--score rating --label-map WORD=NUMBER" in str(why.value)


def test_numbers_without_a_known_name_are_asked_for_by_a_fit_and_are_no_score() -> None:
    some = rows(length=[12, 30], turn=[1, 1])
    assert scan(some).layout.kind == "demonstrations"
    with pytest.raises(InputError, match=r"--score COLUMN; .* length \(12 to 30\), turn"):
        labels(data.in_memory(some, "file"))
    assert scores(some, score="length") == [12, 30]


def test_a_question_about_scores_does_not_stop_demonstrations() -> None:
    some = rows(score=[1, 2], rating=[0, 5])
    found = [item for item, _ in stream(Live("demos", some), "demonstrations")]
    assert len(found) == 2


def test_words_become_scores_by_a_map() -> None:
    some = rows(label=["Good", "bad", "unsure"])
    given = {"good": 1, "bad": "0", "unsure": "drop"}
    for options in ({}, {"score": "label"}):
        found = scan(some, label_map=given, **options)
        assert [x.score for x in found.items] == [1, 0] and not found.faults.errors
        assert found.faults.warnings["left out by --label-map"] == 1
    with_numbers = rows(rating=["good", "bad"], length=[3, 4])
    assert scores(with_numbers, label_map={"good": 1, "bad": 0}) == [1, 0]
    partly = scan(some, label_map={"good": 1, "bad": 0})
    assert partly.faults.errors == {"not a finite number": 1}
    with pytest.raises(InputError, match=r"good=first: 'first' is no number"):
        scan(some, label_map={"good": "first"})


def test_truth_values_are_scores_as_kto_writes_them() -> None:
    some = [{"prompt": "q", "completion": str(v), "label": v} for v in (True, False)]
    assert scores(some) == [1.0, 0.0]


def test_the_scores_label_is_told() -> None:
    label = scan(rows(rating=[1, 5])).plain()["label"]
    assert (label["column"], label["says"]) == ("rating", "a higher score is better")
    assert label["rows"][1] == {"row": 2, "response": "r1", "score": 5.0}


@pytest.mark.parametrize("cells", [["0,25", "0,9"], ["1", "0,5"]])
def test_decimal_commas_are_named_and_no_label_is_lost(cells: list[str]) -> None:
    for some in (rows(score=cells), rows(rating=cells, tokens=[7, 9])):
        with pytest.raises(InputError, match=r"holds '.*decimal comma; write them with a point"):
            scan(some)


def test_the_label_of_llama_factory_s_kto_files_is_the_score() -> None:
    some = [{"instruction": "q", "output": f"r{i}", "kto_tag": i == 1} for i in range(2)]
    assert scores(some) == [0, 1]
