"""World calculator: what is wrong with a call, by hand and at random."""

from __future__ import annotations

import json

import pytest
import torch
from small import SIZES, _built

from assay.core import Missing, Rng
from assay.errors import InputError
from assay.formulas.tool_calls import error_typed_reward
from assay.worlds.calculator import FIELDS, CalculatorConfig, Verifier, verdicts
from assay.worlds.calls import VOCABULARY, asked, judge, pose, read, write
from assay.worlds.dice import dice

SMALL = json.dumps(SIZES["calculator"])
RIGHT = "add two ( first = 3 , second = 5 , modulus = 7 )"


@pytest.mark.parametrize(
    ("call", "typed", "runs"),
    [
        (RIGHT, 1.0, True),
        ("add two ( second = 5 , modulus = 7 , first = 3 )", 1.0, True),
        ("add two ( first = 3 , second = 6 , modulus = 7 )", -0.25, True),
        ("add two ( first = 3 , second = 5 )", -0.5, True),
        ("add two ( first = 3 , modulus = 7 )", -0.5, False),
        ("add two ( first = 3 , second = 5 , third = 1 , modulus = 7 )", -0.8, False),
        ("add two ( first = 3 , second = 5 , third = 1 )", -1.3, False),
        ("times two ( first = 3 , second = 5 , modulus = 7 )", -1.5, True),
        ("add three ( first = 3 , second = 5 , modulus = 7 )", -1.5, False),
        ("sum two ( first = 3 , second = 5 , modulus = 7 )", -2.0, False),
        ("add two first = 3 , second = 5", -2.0, False),
        ("add two ( first = 3 , first = 5 )", -2.0, False),
        ("add two ( first = 3 , second = )", -2.0, False),
        ("", -2.0, False),
    ],
)
def test_calls_of_three_plus_five_modulo_seven(call: str, typed: float, runs: bool) -> None:
    found = judge("3 + 5 mod 7 :", call)
    flags = [torch.tensor([getattr(found, name)]) for name in FIELDS]
    assert float(error_typed_reward(*flags)) == pytest.approx(typed)
    assert found.runs is runs and found.right is (typed == 1.0)
    assert not judge("3 + 5 mod 7 :", call, False).readable


def test_a_modulus_that_was_not_asked_for_is_redundant() -> None:
    found = judge("3 + 5 :", RIGHT)
    assert found.redundant and not (found.hallucinated or found.missing or found.right)


def test_the_ladder_has_its_eight_rungs_and_its_step_down() -> None:
    every = torch.cartesian_prod(*[torch.tensor([True, False])] * 6)
    found = error_typed_reward(*every.T)
    rungs = [-2.0, -1.8, -1.5, -1.3, -1.0, -0.8, -0.5, -0.25, 1.0]
    assert found.unique().tolist() == pytest.approx(rungs)
    worst = torch.tensor([[True, True, True, True, True, False]])
    assert float(error_typed_reward(*worst.T)) < -1.5  # below another tool: as released


def test_errors_are_as_often_as_asked_for_and_a_quarter_of_them_fail_to_run() -> None:
    requests = [pose(d) for d in dice(2000, Rng(3)("pose"))]
    throws = dice(2000, Rng(3)("write"))
    found = [judge(r, write(r, d, bad=0.4)) for r, d in zip(requests, throws, strict=True)]
    wrong = [v for v in found if not v.right]
    assert len(wrong) / 2000 == pytest.approx(0.4, abs=0.04)
    assert sum(not v.runs for v in wrong) / len(wrong) == pytest.approx(0.25, abs=0.05)
    assert all(v.runs for v in found if v.right)
    for request in requests:
        assert judge(request, str(asked(request))).right
        assert read(str(asked(request))) == asked(request)


@pytest.mark.parametrize("text", ["3 + :", "3 + 5", "3 + 5 * 2 :", "3 :", "add two", ""])
def test_what_is_no_request_is_said(text: str) -> None:
    with pytest.raises(InputError, match="no request"):
        asked(text)


def test_rewards_are_members_and_steps_are_fragments() -> None:
    world = _built("calculator", SMALL)
    task, demos = world.task, world.task.demos
    typed, exact, runs = task.rewards(demos)
    assert torch.equal(exact, (typed == 1).to(exact)) and bool((runs >= exact).all())
    assert torch.equal(Verifier(("runs",))(demos)[0], runs)
    assert world.gold is not None and torch.equal(world.gold(demos)[0], exact)
    step = task.rewards.step_of(demos)
    for b, row in enumerate(verdicts(demos)):
        if row[0].right:
            assert int(step[b].max()) == len(asked(demos.prompts.text()[b]).arguments)
    with pytest.raises(Missing, match="--pairs"):
        _ = task.pairs


def test_training_and_held_out_requests_are_apart() -> None:
    world = _built("calculator", SMALL)
    assert not set(world.held_out.text()) & set(world.task.prompts.text())
    assert world.population is not None
    assert not set(world.population.text()) & set(world.task.prompts.text())


def test_constants_out_of_range() -> None:
    with pytest.raises(InputError, match="share"):
        CalculatorConfig(bad=1.5)
    with pytest.raises(InputError, match="typed,exact,runs"):
        CalculatorConfig(rewards="typed,typed")


def test_every_word_of_a_call_is_in_the_vocabulary() -> None:
    for d in dice(200, Rng(9)("any")):
        request = pose(d)
        text = f"{request} {write(request, d, bad=1.0)}"
        assert VOCABULARY.decode(VOCABULARY.encode(text)) == text
