"""APO: the two factors, what they are worth a token, and what a run does with them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.errors import InputError
from assay.formulas.asymmetric import (
    complexity_factor,
    difficulty_weight,
    excess_length,
    pass_rate,
)
from assay.recipes import apo

F = torch.float64
T, N = True, False


def test_the_weight_rises_with_the_pass_rate_and_is_whole_where_nothing_is_mixed() -> None:
    p = torch.arange(9, dtype=F) / 8
    w = difficulty_weight(p)
    assert w[0] == w[8] == 1
    assert bool((w[1:8].diff() > 0).all()), "easy prompts are held more"
    expected = [1 - math.exp(-math.e * k / 8) for k in range(1, 8)]
    torch.testing.assert_close(w[1:8], torch.tensor(expected, dtype=F))
    near = difficulty_weight(torch.tensor([1e-9], dtype=F))
    assert float(near) == pytest.approx(math.e * 1e-9, rel=1e-6), "linear at 0: no digits are lost"
    for bad in ({"steepness": 0.0}, {}):
        rate = p if bad else torch.tensor([math.nan])
        with pytest.raises(ValueError, match="steepness is 0|a pass rate is a share"):
            difficulty_weight(rate, **bad)


def test_absent_completions_are_in_no_rate_and_no_length() -> None:
    right = torch.tensor([[T, N, N, T], [N, N, N, T]])
    here = torch.tensor([[T, T, T, N], [T, T, T, N]])
    assert pass_rate(right, here).tolist() == [pytest.approx([1 / 3] * 4), [0.0] * 4]
    length = torch.tensor([[4, 9, 3, 99], [4, 9, 3, 1]])
    assert excess_length(length, right, here).tolist() == [[0, 5, 0, 0], [0, 0, 0, 0]], (
        "shorter ones pay nothing, and nobody does where none is right"
    )
    gone = torch.zeros_like(here)
    assert pass_rate(right, gone).eq(0).all() and excess_length(length, right, gone).eq(0).all()


def test_the_factor_goes_from_one_to_two_and_the_published_one_hardly_leaves_one() -> None:
    over = torch.tensor([0.0, 1.0, 10.0, 1e6], dtype=F)
    f = complexity_factor(over, base=1.3)
    assert f[0] == 1 and bool((f.diff() > 0).all()) and float(f[-1]) == pytest.approx(2)
    assert complexity_factor(over, base=1.0).tolist() == [1.0] * 4
    found = complexity_factor(torch.tensor([100.0, 1000.0, 4000.0], dtype=F)) - 1
    assert found.tolist() == pytest.approx([0.001, 0.00995, 0.0392], rel=0.01)
    with pytest.raises(ValueError, match=r"base is 0\.9"):
        complexity_factor(over, base=0.9)


@pytest.mark.parametrize("m", [10, 500])
def test_a_longer_wrong_completion_is_pushed_more_a_token_only_above_a_base(m: int) -> None:
    over = torch.tensor([0.0, 0.01], dtype=F)
    for base, more in ((math.exp(1.1 / m), True), (math.exp(0.9 / m), False), (1.00001, False)):
        a_token = complexity_factor(over, base=base) / (m + over)
        assert bool(a_token[1] > a_token[0]) is more, base


def test_dealing_keeps_what_is_there_and_stays_among_the_wrong() -> None:
    value = torch.tensor([[5.0, 0.0, 3.0, 7.0]])
    wrong, u = torch.tensor([[T, N, T, T]]), torch.tensor([[0.5, 0.1, 0.2, 0.9]])
    assert apo.dealt(value, wrong, u).tolist() == [[3.0, 0.0, 5.0, 7.0]]


LOOP = replace(
    SMALL,
    max_steps=1,
    batch_size=12,
    num_generations=8,
    epochs=2,
    mini_batch_size=6,
    learning_rate=0.01,
)


def read(**given: Any) -> dict[str, Any]:
    """The reading after one step; after more there may be no prompt with answers of both kinds."""
    return drive(apo, small_world(apo), given, loop=LOOP)[1]


@pytest.mark.full
def test_what_a_run_says_of_the_factors_and_what_they_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def excess(n: torch.Tensor, right: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        return torch.where(here & ~right, n + torch.arange(n.shape[1]), 0) * 1.0

    # in the miniature no wrong completion is longer than the right ones, and few differ
    monkeypatch.setattr(apo, "excess_length", excess)
    mine, off = read(beta=1.0, base=1.3), read(beta=1.0, base=1.0, dads="off")
    mean, deal = read(beta=1.0, base=1.3, dads="mean"), read(beta=1.0, base=1.3, lengths="dealt")
    assert 0 < mine["stats"]["dads/weight"] < 1 < mine["stats"]["stcr/factor"] < 2
    assert off["stats"]["stcr/factor"] == 1
    assert len({r["kl"] for r in (mine, off, mean, deal)}) == 4
    free = read(beta=0.0, base=1.0)
    assert free["kl"] == read(beta=0.0, base=1.0, dads="off")["kl"], "without a KL, no weight of it"
    for given, said in (
        ({"dads": "x"}, "--dads is 'x'"),
        ({"lengths": "x"}, "--lengths is 'x'"),
        ({"base": 0.5}, "--base 0.5"),
    ):
        with pytest.raises(InputError, match=said):
            read(**given)
