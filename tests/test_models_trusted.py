"""A model with code of its own, where it is trusted: a run, its export, and a fitted reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import checkpoint
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

from assay import RewardServer, cli

OWN = """
from transformers import (
    AutoModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)


class OwnConfig(LlamaConfig):
    model_type = "own-llama"


class OwnModel(LlamaModel):
    config_class = OwnConfig


AutoModel.register(OwnConfig, OwnModel, exist_ok=True)  # a classifier makes its body by AutoModel


class Own(LlamaForCausalLM):
    config_class = OwnConfig


class OwnBody(LlamaModel):
    config_class = OwnConfig


AutoModel.register(OwnConfig, OwnBody, exist_ok=True)  # Llama's classifier makes its body so


class OwnScores(LlamaForSequenceClassification):
    config_class = OwnConfig
"""
AUTOS = {
    "AutoConfig": "own.OwnConfig",
    "AutoModelForCausalLM": "own.Own",
    "AutoModelForSequenceClassification": "own.OwnScores",
}
TRUST = "--trust-remote-code"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("trusted")
    model = checkpoint(made / "model", "llama")
    (model / "own.py").write_text(OWN)
    said = json.loads((model / "config.json").read_text())
    said |= {"model_type": "own-llama", "architectures": ["Own"], "auto_map": AUTOS}
    (model / "config.json").write_text(json.dumps(said))
    asks = [{"prompt": f"the {a}"} for a in ("mill", "gate", "pond")]
    pairs = [{"prompt": f"p {i}", "chosen": f"good {i}", "rejected": "bad"} for i in range(8)]
    for name, rows in (("asks", asks), ("pairs", pairs)):
        (made / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (made / "judge.py").write_text(
        "def long(prompts, completions, **c):\n    return [float(len(x)) for x in completions]\n"
        "def better(prompts, first, second):\n    return [0.5] * len(first)\n"
    )
    return made


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(words) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "config.json names Python code" in last and TRUST in last


def test_a_run_and_its_export_need_the_word_each_time(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", "leave_one_out", "--model", str(home / "model"), "--prompts"]
    run += [str(home / "asks.jsonl"), "--rewards", f"{home / 'judge.py'}:long", "--held-out", "1"]
    run += ["--max-tokens", "4", "--max-steps", "1", "--policies", "--out", "run"]
    refused(run, capsys)
    assert not Path("run").exists()
    assert cli.main([*run, TRUST]) == 0
    export = ["export", "run", "--last", "--out", "out"]
    refused(export, capsys)
    assert cli.main([*export, TRUST]) == 0
    assert "own" in json.loads(Path("out/config.json").read_text())["model_type"]
    watch = ["watch", "run", "--by", f"{home / 'judge.py'}:better"]
    refused(watch, capsys)
    assert cli.main([*watch, TRUST]) == 0
    refused(["check", str(home / "asks.jsonl"), "--show", "1", "--model", "out"], capsys)
    assert (
        cli.main(["check", str(home / "asks.jsonl"), "--show", "1", "--model", "out", TRUST]) == 0
    )


@pytest.mark.full  # a minute on a busy machine
def test_a_reward_is_fitted_and_scores_where_it_is_trusted(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = str(home / "pairs.jsonl")
    fit = ["fit", pairs, "--base", str(home / "model"), "--frozen", "--members", "1"]
    refused([*fit, "--out", "reward"], capsys)
    whole = ["fit", pairs, "--base", str(home / "model"), "--members", "1", "--out", "reward"]
    assert cli.main([*whole, TRUST]) == 0, capsys.readouterr().err
    score = ["score", "reward", pairs, "--out", "scored.jsonl"]
    refused(score, capsys)
    assert cli.main([*score, TRUST]) == 0
    refused(["serve", "reward", "--port", "0"], capsys)
    with RewardServer("reward", trust_remote_code=True, log_requests=False) as server:
        assert server.about["id"] == "reward"
    refused(["evaluate", "reward", pairs], capsys)
