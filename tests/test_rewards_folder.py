"""The folder of a fitted reward: every kind comes back by one function; faults are named."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path

import pytest
import torch

from assay.errors import InputError
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_file import fit
from assay.rewards.folder import ABOUT, describe, faults, read_reward, write_reward
from assay.rewards.linear_reward import LinearReward
from assay.rewards.load import entries, load_reward, load_text_reward


def linear(folder: Path) -> LinearReward:
    reward = LinearReward(torch.arange(6.0).reshape(2, 1, 3), ("a", "b"))
    reward.save(folder)
    return reward


def test_a_reward_of_tokens_loads_by_its_kind_and_scores_no_text(tmp_path: Path) -> None:
    reward = linear(tmp_path / "R")
    again = load_reward(tmp_path / "R")
    assert isinstance(again, LinearReward) and torch.equal(again.table, reward.table)
    with pytest.raises(InputError, match="scores tokens and no text"):
        load_text_reward(tmp_path / "R")


def test_a_folder_of_an_older_schema_says_what_to_do(tmp_path: Path) -> None:
    linear(tmp_path)
    about = json.loads((tmp_path / ABOUT).read_text())
    (tmp_path / ABOUT).write_text(json.dumps({k: v for k, v in about.items() if k != "schema"}))
    with pytest.raises(InputError, match="has schema 1 .* fit the reward again"):
        load_reward(tmp_path)


def test_an_unknown_kind_is_named_beside_those_that_are_known(tmp_path: Path) -> None:
    write_reward(tmp_path, "linear txt", ("a",), {"w": torch.ones(2)}, {})
    with pytest.raises(InputError, match="'linear txt', and this assay knows linear text,"):
        load_reward(tmp_path)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    write_reward(tmp_path, "mine", ("a",), {"w": torch.ones(2, 3)[:, :2]}, {"more": [1]})
    assert describe(tmp_path)["more"] == [1]
    found = read_reward(tmp_path, "mine", lambda about, t: (about["names"], t["w"].shape))
    assert found == (["a"], torch.Size([2, 2]))


def test_a_description_that_was_edited_or_damaged_is_refused(tmp_path: Path) -> None:
    """One bit in a constant gave other scores, and `verify` said that nothing was wrong."""
    write_reward(tmp_path, "mine", ("a",), {"w": torch.ones(2)}, {"typical": [6.56, 4.15]})
    path = tmp_path / ABOUT
    whole = path.read_text()
    path.write_text(whole.replace("6.56", "6.57"))
    with pytest.raises(InputError, match="does not match its seal.*fit the reward again"):
        read_reward(tmp_path, "mine", lambda about, t: about)
    assert "seal" in faults(tmp_path)[0][1]
    path.write_text(whole)
    assert faults(tmp_path) == [(ABOUT, ""), ("weights.safetensors", "")]


def test_one_text_or_function_is_one_entry() -> None:
    assert entries("judge.py:score", "rewards") == ("judge.py:score",)
    assert entries(len, "rewards") == (len,)
    assert entries(["a", "b"], "rewards") == ("a", "b")
    with pytest.raises(InputError, match="rewards is a int; give a list of rewards"):
        entries(3, "rewards")


def test_fit_takes_the_fields_of_its_configuration(tmp_path: Path) -> None:
    signature = inspect.signature(fit)
    assert {f.name for f in dataclasses.fields(FitConfig)} < set(signature.parameters)
    assert all(f"\n    {name}: " in (fit.__doc__ or "") for name in signature.parameters)
    with pytest.raises(InputError, match="--members is 0"):
        fit("nowhere.jsonl", out=tmp_path / "R", config=FitConfig(members=0))
    with pytest.raises(InputError, match="--members is -1"):
        fit("nowhere.jsonl", out=tmp_path / "R", config=FitConfig(members=0), members=-1)
