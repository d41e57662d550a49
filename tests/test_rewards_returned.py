"""What a reward function may return, and the signatures that are known."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.core import InputError, PromptTexts
from assay.data.turns import Turn
from assay.rewards.function import FunctionReward
from assay.rewards.load import open_reward
from assay.rewards.returned import numbers
from assay.worlds.trial import try_rewards

SAID = ["a", "b b", "c c c"]
ASKS = ["p", "q", "r"]


def scored(found: Any) -> list[float]:
    one = FunctionReward(lambda prompts, completions: found, "judge")
    return one.scores(ASKS, SAID)[0].tolist()


NUMERIC = ["float16", "float32", "float64", "longdouble", "int8", "int64", "uint8", "uint64"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.uint8]


@pytest.mark.parametrize("dtype", NUMERIC)
@pytest.mark.parametrize(
    "form",
    [
        lambda a: a,
        lambda a: a[:, None],
        list,
        tuple,
        lambda a: [np.array(v) for v in a],
        lambda a: [np.array([v]) for v in a],
        lambda a: a[:, None].tolist(),
        lambda a: {"rewards": a},
        lambda a: a.astype(object),
    ],
)
def test_numpy_of_any_number_and_form(dtype: str, form: Callable[[Any], Any]) -> None:
    assert scored(form(np.array([1, 0, 3], dtype))) == [1, 0, 3]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "form",
    [
        lambda t: t,
        lambda t: t[:, None],
        list,
        lambda t: list(t[:, None]),
        lambda t: list(t[:, None, None]),
        lambda t: {"rewards": t, "scores": t + 1, "extra_logs": {"length": t}},
        lambda t: t.double().requires_grad_(),
        lambda t: list(t.double().requires_grad_()),
    ],
)
def test_torch_of_any_number_and_form(dtype: torch.dtype, form: Callable[[Any], Any]) -> None:
    assert scored(form(torch.tensor([1, 0, 3], dtype=dtype))) == [1, 0, 3]


def test_bools_pandas_and_python_s_other_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    for yes in (
        np.array([True, False, True]),
        [np.bool_(True), np.bool_(False), True],
        torch.tensor([True, False, True]),
        pandas.Series([1, 0, 1], index=[7, 8, 9]),
        pandas.Series([True, False, True]),
        pandas.DataFrame({"x": [1.0, 0.0, 1.0]})["x"],
        [Fraction(1), Decimal(0), np.float32(1)],
        (1, 0.0, np.int64(1)),
        [{"score": 1.0, "acc": True}, {"score": np.float32(0)}, {"score": torch.tensor(1)}],
        {"scores": [1, 0, 1]},
        {"score": [1, 0, 1]},
    ):
        assert scored(yes) == [1, 0, 1]


def test_none_does_not_apply_wherever_it_stands() -> None:
    pandas = pytest.importorskip("pandas")
    for some in (
        [None, 2.0, np.float32(3)],
        np.array([None, 2, 3], object),
        pandas.Series([None, 2, 3], dtype="Int64"),
        {"rewards": [None, 2, 3]},
        [{"score": None}, 2, 3],
    ):
        first, *rest = scored(some)
        assert math.isnan(first) and rest == [2, 3]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (1.0, "returned a float for 3 completions; return a list of 3 numbers, one per completion"),
        (None, "returned None for 3 completions; return a list of 3 numbers"),
        ("123", "returned a str for 3 completions; return a list of 3 numbers"),
        (iter([1, 2, 3]), "returned a list_iterator for 3 completions; return a list"),
        (np.float32(1), "returned a float32 for 3 completions"),
        ([1.0], "returned 1 value for 3 completions; return a list of 3 numbers"),
        (np.ones((1, 3)), r"returned shape \[1, 3\] for 3 completions"),
        (torch.ones(4), "returned 4 values for 3 completions"),
        (np.ones((3, 2)), r"returned \[1.0, 1.0\] for completion 0; .*a list of 3 numbers"),
        ({"reward": [1, 2, 3]}, "returned a dict of reward for 3 completions; return a list of 3"),
        ({"rewards": [1]}, "returned 1 value under 'rewards' for 3 completions"),
        ({"score": 1.0}, "returned a float under 'score' for 3 completions"),
        ([1, "2", 3], "returned '2' for completion 1; return a finite number: a list of 3 numbers"),
        ([1, 2, {"value": 3}], "returned {'value': 3} for completion 2; .* one per completion"),
        ([1, 1j, 3], "returned 1j for completion 1"),
        ([1, math.nan, 3], "reward judge returned nan for completion 1"),
        (np.array([1, 2, np.inf]), "reward judge returned inf for completion 2"),
        (torch.tensor([math.nan, 2, 3]), "reward judge returned nan for completion 0"),
        ([1, Decimal("NaN"), 3], "for completion 1"),
        ([1, Decimal("Infinity"), 3], "for completion 1"),
        ([1, 10**400, 3], "for completion 1"),
        ([1, 2, np.ones((2, 2))], r"returned array\(.* for completion 2"),
        ([1, 2, np.datetime64("2020-01-01")], "for completion 2"),
        ([1, 2, [3, 4]], r"returned \[3, 4\] for completion 2"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_shape(found: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        scored(found)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 250


def test_a_wrong_return_fails_the_trial_call() -> None:
    prompts = PromptTexts(str, ["2 + 2?"], [None], {})
    for found, said in (({"a": 1}, "a dict of a"), (["1", "2"], "'1' for completion 0")):
        one = FunctionReward(lambda prompts, completions, found=found: found, "judge")
        with pytest.raises(
            InputError, match=f"--rewards failed in a trial call, .*: reward judge returned {said}"
        ):
            try_rewards([one], "rewards", prompts, [0])


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None
) -> Any:
    found = float(solution_str == ground_truth) + (extra_info or {}).get("bonus", 0)
    return {"score": found, "acc": found > 0} if data_source == "dicts" else found


async def slowly(data_source: str, solution_str: str, ground_truth: str, **more: Any) -> float:
    await asyncio.sleep(0.2)
    return float(solution_str == ground_truth) + more["bonus"]


def test_verl_s_signature_is_called_for_each_completion_with_its_columns() -> None:
    one = FunctionReward(compute_score, "compute_score")
    columns = {"data_source": ["dicts", "x", "x"], "extra_info": [None, None, {"bonus": 4}]}
    assert one.needs == {"data_source"}
    talk = [(Turn("user", "p"),), None, None]  # a conversation is judged by its text too
    for right in (
        {"ground_truth": ["a", "a", "a"]},
        {"reward_model": [{"style": "rule", "ground_truth": "a"}] * 3},
    ):
        given = {**columns, **right, "other": [1, 2, 3]}
        assert one.scores(ASKS, SAID, talk, given).tolist() == [[1, 0, 4]]
    with pytest.raises(InputError, match="needs a column 'ground_truth' .or verl's 'reward_model'"):
        one.scores(ASKS, SAID, None, columns)
    with pytest.raises(InputError, match="needs a column 'data_source'"):
        one.possible({"ground_truth": ["a"]}, [0], "rewards", "asks.jsonl")


def test_verl_s_async_function_is_awaited_for_all_completions_at_once() -> None:
    import time

    one, began = FunctionReward(slowly, "slowly"), time.monotonic()
    given = {"data_source": ["x"] * 9, "ground_truth": ["a"] * 9, "bonus": [1] * 9}
    assert one.scores(ASKS * 3, SAID * 3, None, given).tolist() == [[2, 1, 1] * 3]
    assert time.monotonic() - began < 9 * 0.2, "one after another"


def test_an_error_in_verl_s_function_names_its_line() -> None:
    def broken(data_source: str, solution_str: str, ground_truth: str) -> float:
        raise KeyError("x")

    given = {"data_source": ["x"] * 3, "ground_truth": ["a"] * 3}
    with pytest.raises(InputError, match="broken raised KeyError at line .* of .*_returned.py"):
        FunctionReward(broken, "broken").scores(ASKS, SAID, None, given)


def test_signatures_that_are_refused_say_how_to_wrap_them(tmp_path: Path) -> None:
    def reward_func(queries: Any, prompts: Any, labels: Any, **more: Any) -> Any:
        return {"rewards": queries}

    def batch(data_sources: Any, solution_strs: Any, ground_truths: Any, **more: Any) -> Any:
        return []

    with pytest.raises(InputError, match="OpenRLHF's signature .queries, .*; wrap it: def score"):
        FunctionReward(reward_func, "reward_func")
    with pytest.raises(InputError, match="verl's batches .data_sources, .*; wrap it"):
        FunctionReward(batch, "batch")
    (tmp_path / "judge.py").write_text("def f(queries, prompts, labels): return queries\n")
    with pytest.raises(InputError, match="reward f has OpenRLHF's signature"):
        open_reward(f"{tmp_path / 'judge.py'}:f", "rewards")


OPENRLHF = """import torch
def reward_func(queries, prompts, labels):
    said = [q.removeprefix(p) for q, p in zip(queries, prompts)]
    found = torch.tensor([float(s == a) for s, a in zip(said, labels)])
    return {"rewards": found, "scores": found, "extra_logs": {}}
"""


def test_the_wrapper_that_the_sentence_gives_works(tmp_path: Path) -> None:
    file = tmp_path / "judge.py"
    file.write_text(OPENRLHF)
    with pytest.raises(InputError) as caught:
        open_reward(f"{file}:reward_func", "rewards")
    file.write_text(OPENRLHF + str(caught.value).rpartition("wrap it: ")[2] + "\n")
    found = open_reward(f"{file}:score", "rewards").scores(ASKS, SAID, None, {"label": ["a"] * 3})
    assert found.tolist() == [[1, 0, 0]]


def test_an_empty_list_is_no_completions() -> None:
    assert numbers([], 0, "judge") == []


class Odd:
    """An object whose every method fails."""

    def tolist(self) -> Any:
        raise KeyError("tolist")

    def item(self) -> Any:
        raise KeyError("item")

    def __repr__(self) -> str:
        raise KeyError("repr")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (torch.ones(3, device="meta"), "a Tensor for 3 completions"),
        (torch.ones(3).to_sparse(), "a Tensor for 3 completions"),
        (Odd(), "an? Odd for 3 completions"),
        ([Odd()] * 3, "an? Odd for completion 0"),
        ([1e308] * 3, r"1e\+308 for completion 0"),  # rewards are float32, which has no such number
    ],
)
def test_what_holds_no_number_is_refused_in_one_sentence(found: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"reward judge returned {said}; return a"):
        scored(found)
