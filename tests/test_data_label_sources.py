"""Labels as known data sets write them, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
from labelled_rows import AB, NUMBERED, asked, first_wins, rows, scan

from assay.data.label_lines import label_of, label_says
from assay.data.verdict_words import of_word


def test_answers_counted_from_zero_are_named_by_their_index() -> None:
    some = rows(("response_0", "response_1"), "better_response_id", [0, 1, 1])
    assert first_wins(some) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("column", "names", "values", "want"),
    [
        ("a_is_better", AB, [True, False], [1.0, 0.0]),
        ("is_b_better", AB, ["true", "false"], [0.0, 1.0]),
        ("response_2_wins", NUMBERED, [1, 0], [0.0, 1.0]),
        ("first_is_better", AB, [True, False], [1.0, 0.0]),
    ],
)
def test_a_truth_value_is_read_where_its_name_says_of_which(
    column: str, names: tuple[str, str], values: list[Any], want: list[float]
) -> None:
    assert first_wins(rows(names, column, values)) == want


def test_one_column_for_each_outcome() -> None:
    outcomes = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    names = ("winner_model_a", "winner_model_b", "winner_tie")
    some = [
        {**row, **dict(zip(names, cells, strict=True))}
        for row, cells in zip(rows(AB, "id", [1, 2, 3]), outcomes, strict=True)
    ]
    assert first_wins(some) == [1.0, 0.0, 0.5]
    found = scan([*some, {**some[0], "winner_tie": 1}])
    assert found.faults.errors == {"unknown verdict": 1}


def test_shp_is_known_by_its_columns() -> None:
    some = rows(("human_ref_A", "human_ref_B"), "labels", [0, 1])
    assert first_wins(some) == [0.0, 1.0]
    assert "as the columns are those of SHP" in scan(some).plain()["label"]["says"]
    other = [{("verdict" if k == "labels" else k): v for k, v in r.items()} for r in some]
    assert "--label-map" in asked(other, columns={"verdict": "verdict"})


def test_alpaca_evals_graded_preference_is_a_probability() -> None:
    names = ("output_1", "output_2")
    some = rows(names, "preference", [1.0, 2.0, 1.5, 1.25, 0])
    assert first_wins(some) == [1.0, 0.0, 0.5, 0.75, 0.5]
    assert "--label-map" in asked(rows(AB, "preference", [1.0, 1.25]))
    assert scan(rows(names, "preference", [1.25, None])).faults.errors == {"null cell": 1}
    late = rows(names, "preference", [1.0, 2.0] * 60 + [1.75])
    assert first_wins(late)[-1] == 0.25


@pytest.mark.parametrize("column", ["preference_strength", "overall_preference"])
def test_helpsteers_strength_is_a_sign_and_a_margin_only_if_asked(column: str) -> None:
    some = rows(("response1", "response2"), column, [-3, 2, 0])
    assert first_wins(some) == [1.0, 0.0, 0.5]
    assert [x.margin for x in scan(some).items] == [0, 0, 0]
    found = scan(some, columns={"margin": column})
    assert [(x.chosen, x.margin) for x in found.items] == [("one", 3), ("two", 2), ("one", 0)]
    assert "the strength is not used" in scan(some).plain()["label"]["says"]
    assert "the strength is not used" not in found.plain()["label"]["says"]
    assert "--label-map" in asked(rows(AB, "preference_strength", [-3, 3]))


@pytest.mark.parametrize(
    ("word", "p"),
    [
        *(
            (w, 1.0)
            for w in (
                "A",
                "model_a",
                "Response A",
                "[[A]]",
                "A>B",
                "A>>B",
                "[[A>>B]]",
                "Response A is better",
            )
        ),
        *(
            (w, 0.0)
            for w in ("b", "MODEL_B", "assistant_b", "[[B]]", "B>A", "b > a", "A<B", "model_b wins")
        ),
        *((w, 0.5) for w in ("tie", "Both", "draw", "A=B", "[[C]]", "both good", "Both are good")),
    ],
)
def test_words_of_arenas_and_judges(word: str, p: float) -> None:
    assert first_wins(rows(AB, "winner", [word])) == [p]


@pytest.mark.parametrize("word", ["tie (bothbad)", "both_bad", "Both are bad", "neither"])
def test_both_bad_is_a_tie_that_is_counted_apart(word: str) -> None:
    some = rows(AB, "winner", ["model_a", word])
    found = scan(some)
    assert found.faults.warnings == {"both bad": 1} and found.items[1].p == 0.5
    left = scan(some, label_map={word: "drop"})
    assert left.usable == 1 and left.faults.warnings == {"left out by --label-map": 1}


@pytest.mark.parametrize("word", ["c", "A>A", "a1", "first of them", "1>b"])
def test_other_words_are_faults(word: str) -> None:
    assert scan(rows(AB, "winner", [word])).faults.errors == {"unknown verdict": 1}


def test_a_column_counted_from_zero_names_itself() -> None:
    assert of_word("response_1", "response_0", "response_1", {}) == (0.0, "")
    assert of_word("response_1", "response_1", "response_2", {}) == (1.0, "")


def test_a_verdict_can_name_a_model_of_the_row() -> None:
    models = {"model_a": "llama", "model_b": "qwen"}
    assert first_wins(rows(AB, "winner", ["llama", "qwen", "tie"], **models)) == [1.0, 0.0, 0.5]
    twins = rows(AB, "winner", ["llama"], model_a="llama", model_b="llama")
    assert scan(twins).faults.errors == {"unknown verdict": 1}


def test_the_label_is_told_with_three_rows_and_harmless_text() -> None:
    some = rows(NUMBERED, "label", [2, 1, 0, 1])
    some[0]["response_2"] = "Boil\n\u202eit " + "for ten minutes " * 9
    found = scan(some)
    label = label_of(found.layout, found.first)
    assert label is not None and label == found.plain()["label"]
    assert (label["column"], [r["row"] for r in label["rows"]]) == ("label", [1, 2, 3])
    lines = label_says(label)
    assert lines[0] == "label: column label (1 = response_1 is better, 2 = response_2, 0 = tie)"
    assert lines[1].startswith('  row 1: chosen "Boil ⟨U+202E⟩it for ten') and "…" in lines[1]
    assert lines[1].endswith(', rejected "one", p 1') and len(lines[1]) < 120
    assert lines[3].endswith("p 0.5") and len(lines) == 4


def test_the_label_of_pairs_names_p_and_margin() -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b", "p": 0.75, "margin": 2}
    assert label_says(scan([pair]).plain()["label"]) == [
        "label: column chosen (chosen is better than rejected; p is the probability of that; "
        "margin is the margin)",
        '  row 1: chosen "a", rejected "b", p 0.75, margin 2',
    ]
    assert scan([{"prompt": "q"}]).plain()["label"] is None
