"""Other models of world hub: read by name, never trained, and of the policy's own tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint

import assay
from assay.core import Rng
from assay.errors import InputError
from assay.registry import catalogue

PROMPTS = [{"prompt": p} for p in ("Say one.", "Say two.", "Say three.", "Say four.")]


def even(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(c) % 2 == 0) for c in completions]


def models(folder: Path, kinds: tuple[str, str] = ("llama", "llama")) -> tuple[str, str]:
    return tuple(str(checkpoint(folder / f"{i}", k)) for i, k in enumerate(kinds))  # type: ignore[return-value]


def opened(folder: Path, **more: Any) -> Any:
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(p) + "\n" for p in PROMPTS), "utf-8")
    a, b = models(folder)
    build = catalogue.load_world("hub")
    return build(
        policy=a, prompts=str(prompts), held_out=1, max_tokens=4, others={"strong": b}, **more
    )


def test_another_model_is_frozen_and_samples_as_the_policy_does(tmp_path: Path) -> None:
    task = opened(tmp_path, temperature=0.7).task
    strong = task.others["strong"]
    assert set(task.others) == {"strong"}
    assert not any(p.requires_grad for p in strong.parameters())
    x = task.reference.sample(task.prompts[:2], 2, Rng(0))
    y = strong.sample(task.prompts[:2], 2, Rng(0))
    # weights of the same seed: one model twice, at one temperature
    assert x.text() == y.text() and torch.allclose(x.logp, y.logp, atol=1e-5)
    assert strong is not task.reference


def test_a_world_without_others_says_by_which_flag_they_come(tmp_path: Path) -> None:
    a, _ = models(tmp_path)
    with pytest.raises(InputError, match="pass others"):
        assay.train(
            "kdrl", model=a, prompts=PROMPTS, rewards=even, held_out=1, max_tokens=4, max_steps=1,
            batch_size=2, num_generations=2, quiet=True,
        )  # fmt: skip


def test_what_does_not_fit_is_said_before_training(tmp_path: Path) -> None:
    build = catalogue.load_world("hub")
    with pytest.raises(InputError, match="names no model for 'strong'"):
        build(policy="any", prompts="any", others={"strong": ""})
    a, b = models(tmp_path)
    tokenizer = Path(b) / "tokenizer.json"
    words = json.loads(tokenizer.read_text("utf-8"))
    vocabulary = words["model"]["vocab"]
    first, second = list(vocabulary)[5:7]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    tokenizer.write_text(json.dumps(words), "utf-8")
    with pytest.raises(InputError, match="has other tokens"):
        assay.train(
            "kdrl", model=a, prompts=PROMPTS, rewards=even, others={"strong": b}, held_out=1,
            max_tokens=4, max_steps=1, batch_size=2, num_generations=2, quiet=True,
        )  # fmt: skip


def test_a_run_knows_its_teacher_by_what_its_files_hold(tmp_path: Path) -> None:
    a, b = models(tmp_path)
    run = assay.train(
        "kdrl", model=a, prompts=PROMPTS, rewards=f"{rule(tmp_path)}:even", others={"strong": b},
        held_out=1, max_tokens=4, max_steps=1, batch_size=2, num_generations=2, quiet=True,
        out=tmp_path / "run",
    )  # fmt: skip
    assert run.state == "done"
    about = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert about["world"]["others"] == {"strong": b}
    assert any(path.startswith(b) for path in about["inputs"])


def rule(folder: Path) -> Path:
    file = folder / "rule.py"
    file.write_text(
        "def even(prompts, completions, **columns):\n"
        "    return [float(len(c) % 2 == 0) for c in completions]\n",
        "utf-8",
    )
    return file
