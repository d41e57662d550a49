"""Stop strings in world hub, from the flag to the judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from families import checkpoint

from assay import cli
from assay.records.runs import Run
from assay.worlds import hub


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "asks.jsonl").write_text(
        "\n".join(json.dumps({"prompt": f"the mill {i}"}) for i in range(6)), encoding="utf-8"
    )
    (tmp_path / "judge.py").write_text(
        "def e(prompts, completions): return [float(c.count('e')) for c in completions]"
    )
    return {
        "policy": str(checkpoint(tmp_path / "model", "llama")),
        "prompts": str(tmp_path / "asks.jsonl"),
        "judge": f"{tmp_path / 'judge.py'}:e",
    }


def test_judges_read_what_comes_before(files: dict[str, str]) -> None:
    made = hub.world(
        policy=files["policy"],
        prompts=files["prompts"],
        held_out=2,
        max_tokens=20,
        stop=("e",),
        rewards=(files["judge"],),
    )
    x = made.task.reference.sample(made.task.prompts, 8, made.task.rng("look"))
    last = x.action.gather(2, (x.lengths - 1)[..., None])[..., 0]
    stopped = x.ended & ~torch.isin(last, torch.tensor(made.task.reference.vocabulary.ends))
    assert stopped.any() and (made.task.rewards(x) == 0).all() and made.arguments["stop"] == ["e"]
    assert made.task.prompts.text()[0].count("e") >= 1, "a prompt is whole"


def test_on_the_command_line(files: dict[str, str], tmp_path: Path) -> None:
    flags = [
        "--world",
        "hub",
        "--world.policy",
        files["policy"],
        "--world.prompts",
        files["prompts"],
        "--held-out",
        "2",
        "--world.rewards",
        files["judge"],
        "--max-tokens",
        "12",
        "--stop",
        '["e", "\\n\\n"]',
        "--max-steps",
        "2",
        "--batch-size",
        "2",
        "--num-generations",
        "2",
        "--eval-generations",
        "2",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main(["run", "leave_one_out", *flags]) == 0
    run = Run.open(tmp_path / "run")
    assert run.about["world"]["stop"] == ["e", "\n\n"] and {
        r["rewards"][0] for r in run.readings()
    } == {0.0}
