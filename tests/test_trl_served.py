"""A served reward inside TRL: GRPOTrainer's own `_calculate_rewards` asks a server process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_watch_trl import PROMPTS, tiny, tokenizer

from assay.interop.trl import AsyncServedReward, ServedReward

REWARD = """
def length(prompts, completions, skip=None, **columns):
    if "fails" in (skip or []):
        raise ValueError("no")
    skip = skip or [""] * len(completions)
    return [None if s else float(len(c.split())) for c, s in zip(completions, skip)]
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `assay serve` in a process of its own."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "reward.py").write_text(REWARD, encoding="utf-8")
    command = [sys.executable, "-m", "assay", "serve", "reward.py:length", "--port", "0", "--json"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _environment() -> dict[str, str]:
    import os

    root = str(Path(__file__).resolve().parent.parent)
    return {**os.environ, "PYTHONPATH": root}


def trainer(tmp_path: Path, *rewards: Any) -> Any:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    data = Dataset.from_list([{"prompt": p, "skip": ""} for p in PROMPTS[:16]])
    return trl.GRPOTrainer(
        tiny(),
        list(rewards),
        trl.GRPOConfig(
            str(tmp_path), max_steps=2, per_device_train_batch_size=4, num_generations=4,
            max_completion_length=4, report_to=[], disable_tqdm=True, use_cpu=True,
            logging_steps=1, save_strategy="no",
        ),
        train_dataset=data,
        processing_class=tokenizer(),
    )  # fmt: skip


def test_trl_gets_the_server_s_scores_and_nan_for_what_has_none(tmp_path: Path, url: str) -> None:
    both = ServedReward(url, name="plain", batch=2), AsyncServedReward(url, name="later")
    it = trainer(tmp_path, *both)
    said, skip = ["a b", "a", "a b c", ""], ["", "yes", "", ""]
    inputs = [{"prompt": "p", "skip": s} for s in skip]
    found = it._calculate_rewards(inputs, ["p"] * 4, said, [[2]] * 4)
    expected = torch.tensor([[2.0], [torch.nan], [3.0], [0.0]]).expand(4, 2)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert it.reward_func_names == ["plain", "later"]


def test_trl_trains_on_a_served_reward(tmp_path: Path, url: str) -> None:
    it = trainer(tmp_path, AsyncServedReward(url, name="length"))
    it.train()
    logged = [row for row in it.state.log_history if "rewards/length/mean" in row]
    assert len(logged) == 2 and all(0 <= row["rewards/length/mean"] <= 4 for row in logged)
