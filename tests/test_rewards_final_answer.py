"""Final answers of solutions: where they are found, and what counts as the same."""

from __future__ import annotations

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from assay.core import InputError
from assay.rewards.final_answer import FinalAnswer, final_answer
from assay.rewards.load import open_reward

SOLUTIONS = Path(os.environ.get("ASSAY_GSM8K_SOLUTIONS", ""))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("12 + 30 = 42 of them.\n#### 42", "42"),
        ("#### 7\nNo, I was wrong.\n#### $1,200.00 in all", "1200"),
        ("3 of 4 remain.\nA: 3", "3"),
        ("So the answer is 18.", "18"),
        ("The answer: 0.5", "1/2"),
        ("The answer is 3 + 4 = 7 apples.", "7"),
        ("The answer is 12 of the 20 apples.", "12"),
        ("First 5, then 6, and so 11 dollars.", "11"),
        (r"so \boxed{3} or \boxed{ -3.50 }", "-7/2"),
        (r"\boxed{\frac{1}{2}}", "1/2"),
        (r"\boxed{\dfrac{-2}{6}}", "-1/3"),
        (r"\boxed{\text{5 apples}}", "5"),
        (r"\boxed{x = 5}", "5"),
        (r"\boxed{50\%}", "50"),
        (r"\boxed{2x}", "2x"),
        (r"\boxed{x^2 + 1}", "x^2+1"),
        (r"\boxed{(1, 2)}", "1, 2"),
        (r"\boxed{x_{n}}", "x_{n}"),
        (r"The answer is \(\frac{1}{3}\).", "1/3"),
        ("The answer is (B).", "b"),
        ("The answer is 12 (twelve).", "12"),
        ("**Final answer:** 7", "7"),
        ("Answer:\n\n$7$", "7"),
        ("the answer is -$5", "-5"),
        ("#### Step 2: add them\nThe answer is 72.", "72"),
        ("#### Paris", "paris"),
        ("It is 5-3", "3"),
        ("1.2e3 of them", "1200"),
        ("3½ cups", "7/2"),
        ("The answer is 2 1/4", "9/4"),
        ("The answer is 10²", "10^2"),
        ("The answer is 25 cm².", "25"),
        ("Answer: Paris.", "paris"),
        ("To answer this, add 5 and 5: that is 10.", "10"),
        ("The answer to the question is 4. That is all, in 2 lines.", "4"),
        ("It costs 4/6 of it", "2/3"),
        ("−5 degrees", "-5"),
        ("５０", "50"),
        ("none at all", ""),
        ("1/0", "1/0"),
        ("", ""),
        ("####", ""),
    ],
)
def test_where_an_answer_is_found(text: str, answer: str) -> None:
    assert final_answer(text) == answer


def test_the_last_answer_counts_so_that_listing_them_earns_nothing() -> None:
    judge = FinalAnswer("answer")
    listed = " ".join(f"The answer is {k}." for k in range(100))
    scores = judge.scores(["?"] * 3, [listed] * 3, None, {"answer": ["42", "99", 0]})
    assert scores.tolist() == [[0.0, 1.0, 0.0]]


def test_a_column_may_hold_solutions_numbers_or_several_answers() -> None:
    judge = FinalAnswer("solution")
    cells = ["2 * 9 = 18.\n#### 18", 18, 18.0, ["17", "18"], "blue"]
    said = ["It is 18."] * 4 + ["The answer is Blue"]
    assert judge.scores(["?"] * 5, said, None, {"solution": cells}).tolist() == [[1.0] * 5]
    assert judge.scores(["?"], ["nothing"], None, {"solution": [18]}).tolist() == [[0.0]]
    with pytest.raises(InputError, match=r"--gold is 'answer:solution', and prompt 1 of p.jsonl"):
        judge.possible({"solution": ["3", None]}, range(2), "gold", "p.jsonl")


def test_different_fractions_are_different_answers() -> None:
    judge = FinalAnswer("answer")
    ways = {
        (a, b): (rf"\boxed{{\frac{{{a}}}{{{b}}}}}", f"The answer is {a}/{b}.", f"#### {a} / {b}")
        for a in range(1, 8)
        for b in range(1, 8)
    }
    for (a, b), solutions in ways.items():
        for (c, d), others in ways.items():
            for one, other in zip(solutions, others[1:] + others[:1], strict=True):
                score = judge.scores(["?"], [one], None, {"answer": [other]})
                assert bool(score) == (a * d == b * c), (one, other)


def test_no_completion_stops_a_run_or_takes_long() -> None:
    hostile = ["9" * 100_000, "1e999999999", "1e99999", "1/" + "0" * 9, "\\boxed{" * 5000,
               "answer " * 20_000, "\n" * 50_000, "1 " * 50_000, "#### " * 20_000, "1,111" * 20_000,
               "answer" + " " * 50_000 + "x", "((((" * 20_000, "\\text{" * 5000]  # fmt: skip
    begun = time.perf_counter()
    for text in hostile:
        final_answer(text)
    assert time.perf_counter() - begun < 10
    assert final_answer("#### " + "9" * 5000) != final_answer("#### " + "9" * 5001)


def test_it_is_given_as_answer_and_a_column() -> None:
    reward = open_reward("answer:solution", "rewards")
    assert reward.names == ("answer solution",) and isinstance(reward, FinalAnswer)


def test_it_agrees_with_verdicts_of_four_thousand_solutions() -> None:
    if not SOLUTIONS.is_file():
        pytest.skip("ASSAY_GSM8K_SOLUTIONS names no file: response, reference, correct")
    with gzip.open(SOLUTIONS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    said = [r["response"] for r in rows]
    scores = FinalAnswer("reference").scores(
        [r["prompt"] for r in rows], said, None, {"reference": [r["reference"] for r in rows]}
    )
    assert [bool(s) for s in scores[0]] == [r["correct"] for r in rows]
