"""Problems, worked solutions, and the checking of lines: every rule on examples by hand, then as
laws over many problems.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.core import InputError, Rng
from assay.worlds.arithmetic import TASKS, VOCABULARY, Problem, pose, read, solve
from assay.worlds.curriculum import mistake_rate, problems
from assay.worlds.dice import Dice, dice
from assay.worlds.scratchpad import Checked, check, marks

CHAIN, MOD, DOWN = read("3 + 5 + 2 :"), read("3 * 5 + 6 mod 7 :"), read("make 6 from 2 3 5 :")


def checked(problem: Problem, text: str, ended: bool = True) -> Checked:
    return check(problem, (*VOCABULARY.encode(text), *([VOCABULARY.eos] if ended else [])))


def verdicts(problem: Problem, text: str, ended: bool = True) -> tuple[str, bool, bool]:
    """R a right line, F a formed one that is not right, x neither; correct; well-formed."""
    found = checked(problem, text, ended)
    return (
        "".join("R" if x.right else "F" if x.formed else "x" for x in found.lines),
        found.correct,
        found.formed,
    )


@pytest.mark.parametrize(
    ("problem", "text", "lines", "correct", "formed"),
    [
        (CHAIN, "3 + 5 = 8 ; 8 + 2 = 10 ; answer 10", "RRR", True, True),
        (
            CHAIN,
            "3 + 5 = 9 ; 9 + 2 = 11 ; answer 11",
            "FRR",
            False,
            True,
        ),  # a wrong total, carried on correctly
        (
            CHAIN,
            "3 + 5 = 9 ; 9 + 2 = 10 ; answer 10",
            "FFR",
            True,
            True,
        ),  # two errors that cancel: the answer is right
        (CHAIN, "3 + 5 = 8 ; 8 + 5 = 13 ; answer 13", "RFR", False, True),  # not the next number
        (
            CHAIN,
            "3 + 5 = 8 ; 5 + 2 = 7 ; answer 10",
            "RFF",
            True,
            True,
        ),  # does not go on from the line before
        (CHAIN, "3 + 5 = 8 ; 8 + 2 = 10 ; answer 9", "RRF", False, True),
        (CHAIN, "answer 10", "F", True, True),  # correct, though no working supports it
        (CHAIN, "3 + 5 = 8 ; answer 8", "RF", False, True),  # the problem is not used up
        (
            CHAIN,
            "3 + 5 = 8 ; 8 + 2 = 10 ; 8 + 2 = 10 ; answer 10",
            "RRFR",
            True,
            True,
        ),  # said again
        (CHAIN, "3 + 5 8 ; 3 + 5 = 8 ; 8 + 2 = 10 ; answer 10", "xRRR", True, False),
        (CHAIN, "answer 10 ; answer 9", "xF", False, False),  # the end says 9
        (CHAIN, "3 + 5 = 8 ; 8 + 2 = 10 ; 10", "RRx", False, False),
        (MOD, "3 * 5 = 1 ; 1 + 6 = 0 ; answer 0", "RRR", True, True),
        (MOD, "3 * 5 = 15 ; 15 + 6 = 0 ; answer 0", "FRR", True, True),
        (
            read("0 * 0 * 0 mod 7 :"),
            "0 * 0 = 0 ; 0 * 0 = 0 ; answer 0",
            "RRR",
            True,
            True,
        ),  # alike, and both asked for
        (DOWN, "5 + 3 = 8 ; 8 - 2 = 6 ; answer 6", "RRR", True, True),
        (DOWN, "2 * 3 = 6 ; answer 6", "RR", True, True),  # not every number need be used
        (DOWN, "answer 6", "F", False, True),  # the problem says 6: working is what is asked for
        (DOWN, "3 + 3 = 6 ; answer 6", "FF", False, True),  # one 3 only
        (DOWN, "5 + 2 = 6 ; answer 6", "FR", False, True),
        (DOWN, "5 + 3 = 8 ; 8 - 2 = 6 ; 8 - 2 = 6 ; answer 6", "RRFR", True, True),
    ],
)
def test_lines(problem: Problem, text: str, lines: str, correct: bool, formed: bool) -> None:
    if (problem, text) == (DOWN, "3 + 3 = 6 ; answer 6"):
        lines = "FR"  # it says what its line came to
    assert verdicts(problem, text) == (lines, correct, formed)


def test_an_answer_that_was_cut_is_neither_correct_nor_formed() -> None:
    assert verdicts(CHAIN, "3 + 5 = 8 ; 8 + 2 = 10 ; answer 10", ended=False) == (
        "RRx",
        False,
        False,
    )
    assert verdicts(CHAIN, "3 + 5 = 8 ;", ended=False) == ("R", False, False)


@pytest.mark.parametrize("task", TASKS)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_a_solution_without_mistakes_is_right_in_every_line(
    task: str, seed: int, terms: int
) -> None:
    throws = Rng(seed).uniform(torch.arange(2)[:, None], torch.arange(64)).tolist()
    problem = pose(task, min(terms, 3) if task == "countdown" else terms, Dice(iter(throws[0])))
    assert read(str(problem)) == problem
    text = solve(problem, Dice(iter(throws[1])))
    found = checked(problem, text)
    assert found.correct and found.formed and all(x.right for x in found.lines)
    again = checked(problem, solve(problem, Dice(iter(throws[1])), again=1.0))
    assert again.correct and again.formed and sum(not x.right for x in again.lines) == 2
    wrong = solve(problem, Dice(iter(throws[1])), mistakes=1.0)
    assert not any(x.right for x in checked(problem, wrong).lines[:-1])


@given(st.integers(0, 10**6))
def test_right_lines_are_true_sums(seed: int) -> None:
    """An independent reading of the text: what is called right is arithmetic that Python agrees
    with.
    """
    throws = Rng(seed).uniform(torch.arange(2)[:, None], torch.arange(64)).tolist()
    problem = pose("chain", 4, Dice(iter(throws[0])))
    text = solve(problem, Dice(iter(throws[1])), mistakes=0.5)
    said = [line.strip() for line in text.split(";")]
    before = problem.numbers[0]
    for line, found in zip(said[:-1], checked(problem, text).lines, strict=False):
        left, _, right, _, result = line.split()
        assert found.right == (int(left) == before and int(left) + int(right) == int(result))
        before = int(result)


def test_marks_are_where_the_lines_are() -> None:
    x = VOCABULARY.completions(
        VOCABULARY.prompts([str(CHAIN), str(MOD)]),
        [["3 + 5 = 8 ; 8 + 2 = 10 ; answer 10", "answer 10"], ["3 * 5 = 2 ; 2 + 6 = 1 ; answer 1"]],
    )
    m = marks(x)
    assert m.step[0, 0].tolist() == [0] * 6 + [1] * 6 + [2] * 3
    assert m.last[0, 0].nonzero()[:, 0].tolist() == [5, 11, 14]
    assert m.right[0].sum(-1).tolist() == [3, 0] and m.right[1].sum(-1).tolist() == [2, 0]
    assert m.correct.tolist() == [[True, True], [False, False]] and m.n_work.tolist() == [
        [2, 0],
        [2, 0],
    ]
    assert (m.step[1, 1] == -1).all() and not m.answered[1, 1]  # an absent answer
    wide = marks(x.widened(40))
    assert torch.equal(wide.right[..., :15], m.right) and (wide.step[..., 15:] == -1).all()


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_solutions_end_right_as_often_as_requested(rate: float) -> None:
    _, some = problems("chain", 3, 5, n_unique=8, n_total=3000, n_hidden=4, rng=Rng(0))
    share = min(0.1, (1 - rate) / 2)
    h = mistake_rate(some, rate, share)
    right = sum(
        checked(p, solve(p, d, mistakes=h, bare=share, again=0.1)).correct
        for p, d in zip(some, dice(len(some), Rng(1)), strict=True)
    ) / len(some)
    assert right == pytest.approx(rate, abs=0.04)


def test_held_out_problems_are_in_no_demonstration() -> None:
    known, some = problems("countdown", 2, 3, n_unique=40, n_total=500, n_hidden=20, rng=Rng(0))
    assert len(set(known)) == 40 and not set(known[:20]) & set(some) and len(some) == 500


@pytest.mark.parametrize("text", ["3 + :", "make from 2 :", "3 ; 5 :", "", "3 + 5", "99 * 99 :"])
def test_what_is_no_problem(text: str) -> None:
    with pytest.raises(InputError, match="is no problem of world sums"):
        read(text)
