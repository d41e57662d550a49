"""A fitted reward's folder gives the scores of the reward in memory, or it is not written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from test_rewards_fit_models import base, pairs

import assay
from assay import cli
from assay.errors import InputError
from assay.rewards.encoder import ModelReward
from assay.rewards.linear_text import LinearTextReward

SMALL = ["--members", "1", "--folds", "0", "--epochs", "1", "--batch-size", "4"]


def doubled(kind: Any, file: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `save` write another weight than the reward's, before digests are taken."""
    plain: Callable[..., None] = kind.save

    def save(self: Any, folder: Path) -> None:
        plain(self, folder)
        path = Path(folder) / file
        weights = load_file(str(path))
        weights[name] = weights[name] * 2 + 0.5
        save_file(weights, str(path), metadata={"format": "pt"})
        about = json.loads((Path(folder) / "reward.json").read_text())
        from assay.records.runs import digest

        about["files"][file] = digest(path)
        del about["seal"]
        (Path(folder) / "reward.json").write_text(json.dumps(about))

    monkeypatch.setattr(kind, "save", save)


@pytest.mark.parametrize("more", [[], ["--lora", "2"], ["--frozen"]], ids=str)
def test_fit_says_how_close_the_scores_of_its_folder_are(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--lora" in more:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    model, file = base(tmp_path / "base", "llama"), pairs(tmp_path / "p.jsonl", 12)
    small = ["--members", "1"] if "--frozen" in more else SMALL
    words = ["fit", str(file), "--base", str(model), *small, *more]
    assert cli.main([*words, "--out", str(tmp_path / "R")]) == 0
    said = [x for x in capsys.readouterr().out.splitlines() if x.startswith("checked: loaded by ")]
    by = "assay" if "--frozen" in more else "plain transformers"
    assert len(said) == 1 and f"loaded by {by}, its scores of 8 rows differ by at most " in said[0]
    assert (tmp_path / "R" / "fit.json").exists() and not list(tmp_path.glob("*.part-*"))


def test_a_folder_with_other_scores_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = base(tmp_path / "base", "llama"), pairs(tmp_path / "p.jsonl", 12)
    doubled(ModelReward, "judge0/model.safetensors", "score.weight", monkeypatch)
    words = ["fit", str(file), "--base", str(model), *SMALL, "--out", str(tmp_path / "R")]
    assert cli.main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{tmp_path / 'R'} was not written, because it would be another reward" in said
    assert "its scores of 8 rows differ by at most" in said
    assert not (tmp_path / "R").exists() and not list(tmp_path.glob("*.part-*"))


def test_a_linear_reward_is_loaded_back_by_assay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = assay.fit_reward(pairs(tmp_path / "p.jsonl", 12), members=2)
    reward.save(tmp_path / "R")
    assert assay.load_reward(tmp_path / "R").names == reward.names
    doubled(LinearTextReward, "weights.safetensors", "offset", monkeypatch)
    with pytest.raises(InputError, match="Q was not written, because it would be another reward"):
        reward.save(tmp_path / "Q")
    assert not (tmp_path / "Q").exists()


def test_a_folder_that_cannot_be_loaded_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = assay.fit_reward(pairs(tmp_path / "p.jsonl", 12), members=1)
    plain: Callable[..., None] = LinearTextReward.save

    def save(self: Any, folder: Path) -> None:
        plain(self, folder)
        (Path(folder) / "weights.safetensors").write_bytes(b"")

    monkeypatch.setattr(LinearTextReward, "save", save)
    with pytest.raises(InputError, match="R was not written: it could not be loaded back"):
        reward.save(tmp_path / "R")
