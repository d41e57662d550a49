"""TL-Training: key tokens and their weights by hand, and what each phase of a run does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_contract import SMALL, drive, small_world

from assay.errors import InputError
from assay.formulas.tool_calls import distinguishing_tokens, key_token_weights
from assay.recipes import sft, tl_training
from assay.worlds.calculator import verdicts

LOOP = replace(SMALL, epochs=1, learning_rate=0.003)
# get weather (7, 1), get time (7, 2), get time zone (7, 2, 3), put (8)
NAMES = torch.tensor([[7, 1, 0], [7, 2, 0], [7, 2, 3], [8, 0, 0]])
LENGTHS = torch.tensor([2, 2, 3, 1])
OPEN = 5


@pytest.mark.parametrize(
    ("call", "keys"),
    [
        ([7, 1, OPEN, 9], [0, 1]),  # from both times at the second word
        ([7, 2, OPEN, 9], [0, 1, 2]),  # and from the zone where the name ends
        ([7, 2, 3, OPEN], [0, 1, 2]),  # where "get time" would have ended
        ([8, OPEN, 9, 9], [0]),  # no tool is named alike
        ([6, OPEN, 9, 9], [0]),  # no tool at all
        ([7, 4, OPEN, 9], [0, 1]),  # no tool, begun as three
        ([7], [0]),  # cut off before anything is told apart
    ],
)
def test_key_tokens_are_the_first_one_and_where_names_part(
    call: list[int], keys: list[int]
) -> None:
    found = distinguishing_tokens(torch.tensor([call]), NAMES, LENGTHS)[0]
    assert found.nonzero()[:, 0].tolist() == keys


def test_without_tools_the_first_token_alone_is_key() -> None:
    none = torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    found = distinguishing_tokens(torch.tensor([[7, 1, OPEN]]), *none)
    assert found.tolist() == [[True, False, False]]


def test_weights_are_the_ratio_of_counts_within_bounds_and_average_one() -> None:
    key = torch.tensor([[True, True, False, False, False, False, False, True]])
    mask = torch.tensor([[True] * 7 + [False]])
    w = key_token_weights(key, mask)[0]
    # five others to two key tokens: 2.5 each, and a mean of 10/7
    torch.testing.assert_close(w, torch.tensor([1.75, 1.75, 0.7, 0.7, 0.7, 0.7, 0.7, 0.0]))
    assert float(w.sum()) == pytest.approx(7.0)
    bounded = key_token_weights(key, mask, most=2.0)[0]
    assert float(bounded[0] / bounded[2]) == pytest.approx(2.0)
    apart = torch.tensor([[False] * 6 + [True, False]])
    fewer = key_token_weights(key, mask, apart=apart)[0]
    assert float(fewer[0] / fewer[2]) == pytest.approx(2.0), "four others are counted"
    assert float(fewer[6]) == pytest.approx(float(fewer[2]))
    mostly = key_token_weights(~key, mask)[0]
    assert mostly[:7].tolist() == [1.0] * 7, "key tokens never weigh less"
    assert key_token_weights(key, mask, most=1.0)[0, :7].tolist() == [1.0] * 7
    assert not key_token_weights(key, torch.zeros_like(mask)).any()
    with pytest.raises(ValueError, match="most is 0.5"):
        key_token_weights(key, mask, most=0.5)


def run(**given: Any) -> list[dict[str, Any]]:
    world = small_world(tl_training)
    return drive(tl_training, world, {"sft_steps": 2, **given}, loop=LOOP)


def test_imitation_comes_first_and_samples_nothing() -> None:
    readings = run(sft_rate=5.0)
    spent = [r["generated"] for r in readings if r["tag"] != "best"]
    per_step = LOOP.batch_size * LOOP.num_generations
    assert spent == [0, 0, 0, per_step, 2 * per_step]
    assert readings[1]["stats"]["learning_rate"] == pytest.approx(5 * LOOP.learning_rate)
    assert readings[3]["stats"]["learning_rate"] == pytest.approx(LOOP.learning_rate)
    assert "value_loss" in readings[3]["stats"] and "value_loss" not in readings[2]["stats"]
    # π₁ is where PPO begins: the KL penalty is 0 before its first update
    assert readings[3]["stats"]["kl"] == pytest.approx(0.0, abs=1e-9) and readings[3]["kl"] > 0


def test_demonstrations_that_failed_are_left_out_and_wrong_ones_that_ran_are_not() -> None:
    world = small_world(tl_training)
    demos = world.task.demos
    found = [row[0] for row in verdicts(demos)]
    failed = sum(not v.runs for v in found) / len(found)
    assert 0 < failed < sum(not v.right for v in found) / len(found)
    whole = replace(LOOP, batch_size=len(demos), max_steps=1)
    out = drive(tl_training, world, {}, loop=whole)[1]["stats"]["mae/left_out"]
    assert out == pytest.approx(failed)
    assert "mae/left_out" not in run(sound="")[1]["stats"]


@pytest.mark.full
def test_weights_change_the_run_and_their_places_matter() -> None:
    tools = {"tools": "add two,add three,take two,take three,times two,times three"}
    ways = (tools, {**tools, "most": 1.0}, {**tools, "shuffled": True}, {**tools, "closing": ", )"})
    assert len({run(**way)[1]["stats"]["grad_norm"] for way in ways}) == len(ways)


@pytest.mark.full
def test_with_one_weight_a_token_and_all_demonstrations_it_is_sft() -> None:
    plain = {"sft_steps": 9, "sft_rate": 1.0, "most": 1.0, "sound": "", "length_mean": False}
    mine = run(**plain)
    theirs = drive(sft, small_world(tl_training), {"imitate": "demos"}, loop=LOOP)
    for a, b in zip(mine, theirs, strict=True):
        assert a["gold"] == b["gold"] and a["kl"] == pytest.approx(b["kl"])
    assert run(**{**plain, "length_mean": True})[-2]["kl"] != pytest.approx(mine[-2]["kl"])


def test_greedy_rollouts_are_one_a_prompt_and_the_same_each_time() -> None:
    world = small_world(tl_training)
    rng = world.task.rng("greedy")
    first, second = (
        tl_training.likeliest(world.task.reference, world.held_out, rng(k)) for k in "ab"
    )
    assert torch.equal(first.action, second.action) and first.mask.shape[1] == 1
    torch.testing.assert_close(first.logp, world.task.reference.logp(first))
    assert run(greedy=True)[3]["generated"] == LOOP.batch_size


def test_constants_out_of_range_are_said() -> None:
    for given, said in (({"sft_steps": -1}, "--sft-steps is -1"), ({"most": 0.5}, "--most 0.5")):
        with pytest.raises(InputError, match=said):
            run(**given)
