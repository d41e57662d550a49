"""A run's policy for plain transformers: the same log-probabilities, adapters merged, a card with
the measured curve.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from test_worlds_hub import files  # noqa: F401  # a fixture

from assay import cli
from assay.engine import checkpoint as disk
from assay.records.runs import Run


def ran(given: dict[str, str], folder: Path, *more: str) -> Path:
    flags = [
        "--world",
        "hub",
        "--world.policy",
        given["policy"],
        "--world.prompts",
        given["prompts"],
        "--world.held-out",
        "4",
        "--world.rewards",
        f"{given['judges']}:words",
        "--world.max-tokens",
        "6",
        "--max-steps",
        "3",
        "--batch-size",
        "3",
        "--num-generations",
        "3",
        "--eval-generations",
        "2",
        "--eval-steps",
        "1",
        "--learning-rate",
        "0.01",
        *more,
    ]
    assert cli.main(["run", "leave_one_out", *flags, "--out", str(folder)]) == 0
    return folder


def theirs(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(input_ids=tokens).logits
    return logits


@pytest.mark.parametrize(("family", "lora"), [("llama", "0"), ("gpt2", "0"), ("qwen2", "3")])
def test_the_exported_model_is_the_policy(
    files: dict[str, str], tmp_path: Path, family: str, lora: str
) -> None:
    if lora != "0":
        pytest.importorskip("peft", reason="the lora extra is not installed")
    given = {**files, "policy": str(checkpoint(tmp_path / family, family))}
    run = ran(given, tmp_path / "run", "--world.lora", lora)
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--which", "last"]) == 0
    from assay.worlds import hub

    world = hub.world(
        policy=given["policy"], prompts=given["prompts"], held_out=4, max_tokens=6, lora=int(lora)
    )
    policy: Any = world.task.reference.copy()
    start = policy.sample(policy.vocabulary.prompts(["what is the gate?"]), 4, disk_rng())
    before = policy.logp(start).detach()
    policy.load_state_dict(disk.load(run / "carry.safetensors")["carry"]["kept"]["policy"])
    mine = policy.logp(start).detach()
    assert (mine - before).abs().max() > 1e-3, "the run moved it"
    from transformers import AutoTokenizer

    assert (
        AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
        == policy.vocabulary.tokenizer.get_vocab()
    )
    ask = start.prompts.tokens[0][start.prompts.mask[0]]
    for n in range(4):
        taken = start.action[0, n][start.mask[0, n]]
        logits = theirs(tmp_path / "out", torch.cat([ask, taken])[None])[0, len(ask) - 1 : -1]
        logits[:, list(policy.vocabulary.barred)] = -torch.inf
        assert (
            logits.log_softmax(-1).gather(1, taken[:, None])[:, 0] - mine[0, n][start.mask[0, n]]
        ).abs().max() < 1e-5


def disk_rng() -> Any:
    from assay.core import Rng

    return Rng(5)


def test_the_card_holds_the_curve_and_nothing_is_overwritten(
    files: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ran(files, tmp_path / "run", "--world.gold", f"{files['judges']}:slow")
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    chosen = Run.open(run).about["best_step"]
    assert (
        "← this model" in text
        and f"# leave\\_one\\_out, step {chosen}" in text
        and "gold (function)" in text
    )
    assert text.startswith("---\nlibrary_name: transformers\n") and '"temperature": 1.0' in text
    capsys.readouterr()
    for words, said in (
        (["export", str(run), "--out", str(tmp_path / "out")], "never overwritten"),
        (
            ["export", str(run), "--out", str(tmp_path / "o"), "--which", "first"],
            "and best or last was expected",
        ),
        (["export", str(run)], "--out is required: the folder to write"),
        (["export", "--out", "x"], "RUN is required: the folder of one run"),
    ):
        assert cli.main(words) == 2
        assert said in capsys.readouterr().err


def test_a_world_without_language_models_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            [
                "run",
                "leave_one_out",
                "--world",
                "table",
                "--max-steps",
                "1",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert (
        cli.main(
            ["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--which", "last"]
        )
        == 2
    )
    assert (
        "which transformers cannot load" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )
