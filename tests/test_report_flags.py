"""The flags that a report shows can be typed, and say what the record says."""

from __future__ import annotations

import json
import shlex
import tomllib
from typing import Any

import pytest

from assay import cli
from assay.report.flags import command, world_flags


def printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert cli.main([*words, "--print-config"]) == 0
    return tomllib.loads(capsys.readouterr().out)


HUB = {
    "name": "hub",
    "policy": "org/model",
    "prompts": "my prompts.jsonl",
    "pairs": "",
    "rewards": ["judge.py:score", "http://127.0.0.1:1/x"],
    "gold": "match:answer",
    "columns": {"prompt": "question"},
    "stop": ["\n\n", "#,#"],
    "held_out": 64,
    "chat": False,
    "truncated": -1.0,
    "lora": 8,
    "peft": "",
    "seed": 3,
}


def record(world: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "verb": "recipe",
        "recipe": "grpo",
        "arguments": {"beta": 0.1, "standardise": False, "epsilon_low": 0.2},
        "loop": {"max_steps": 7, "learning_rate": 1e-5},
        "world": world,
        "run": {"eval_steps": 5, "save_steps": 3, "threads": 4, "policies": True},
        **more,
    }


@pytest.mark.parametrize("world", [HUB, {"name": "grammar", "pairs": 40, "noise": 0.25, "seed": 0}])
def test_the_command_can_be_typed_and_means_the_record(
    world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(" ".join(command(record(world))))
    assert words[:3] == ["assay", "run", "grpo"]
    said = printed(words[1:], capsys)
    flat = {**said, **{f"world.{k}": v for k, v in said.get("world", {}).items()}}
    flat["policy"] = said.get("model")
    assert (flat["beta"], flat["standardise"], flat["save_steps"]) == (0.1, False, 3)
    assert flat["policies"] is True and flat["learning_rate"] == 1e-5 and flat["max_steps"] == 7
    for name, value in world.items():
        if name != "name" and value not in ("", None):
            assert json.loads(json.dumps(flat.get(f"world.{name}", flat.get(name)))) == value, name


def test_what_is_at_its_default_is_not_said() -> None:
    said = " ".join(command(record(HUB)))
    for name in ("epsilon-low", "threads", "peft", "--pairs"):
        assert name not in said, name
    assert world_flags({"name": "grammar", "noise": 0.25, "pairs": 2000}) == []


def test_a_world_of_another_assay_still_says_its_settings() -> None:
    world = {"name": "gone", "depth": 3, "off": False, "none": None}
    assert world_flags(world) == ["--world.depth 3"]


def test_what_no_command_runs_has_none() -> None:
    assert command(record(HUB, verb="trl")) == []
    watched = command(
        record({"name": "grammar"}, watch={"by": "gold", "budget": 60, "alpha": 0.05})
    )
    assert watched[-2:] == ["--watch gold", "--watch.budget 60"]
