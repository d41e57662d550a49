"""An exported folder that is not the policy is refused with the number, and no folder is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from test_records_export import ran
from test_worlds_hub import files  # noqa: F401  # a fixture

import assay
from assay import cli
from assay.api import policy as api_policy
from assay.errors import InputError
from assay.models import as_transformers


def damaged(by: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `save` write another head than the policy's."""
    plain: Callable[..., None] = as_transformers.save

    def save(policy: Any, folder: Path) -> None:
        plain(policy, folder)
        file = folder / "model.safetensors"
        weights = load_file(str(file))
        name = "model.layers.1.mlp.down_proj.weight"
        weights[name] = weights[name] * (1 + by)
        save_file(weights, str(file), metadata={"format": "pt"})

    monkeypatch.setattr(api_policy, "save", save)
    monkeypatch.setattr(as_transformers, "save", save)


def test_the_last_lines_say_how_close_the_folder_is(
    files: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ran(files, tmp_path / "run")
    capsys.readouterr()
    assert cli.main(["export", str(run), "--out", str(tmp_path / "a"), "--last"]) == 0
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith(
        "checked: loaded by plain transformers, the log-probabilities of 4 stored completions ("
    )
    assert cli.main(["export", str(run), "--out", str(tmp_path / "b"), "--last", "--json"]) == 0
    close = json.loads(capsys.readouterr().out)["agreement"]
    assert 0 <= close["mean"] <= close["worst"] < 1e-5 and close["tokens"] > 4
    (run / "samples.jsonl").unlink()
    assert cli.main(["export", str(run), "--out", str(tmp_path / "c"), "--last"]) == 0
    assert "of 4 sampled completions (" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_another_model_than_the_policy_is_not_written(
    files: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
) -> None:
    run = ran(files, tmp_path / "run", "--dtype", dtype)
    assert cli.main(["export", str(run), "--out", str(tmp_path / "good"), "--last"]) == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "there").mkdir()
    assert cli.main(["export", str(run), "--out", str(tmp_path / "there"), "--last"]) == 0
    assert {p.name for p in (tmp_path / "there").iterdir()} == {
        p.name for p in (tmp_path / "good").iterdir()
    }
    damaged(0.01 if dtype == "float32" else -2.0, monkeypatch)
    for name in ("new", "empty"):
        capsys.readouterr()
        assert cli.main(["export", str(run), "--out", str(tmp_path / name), "--last"]) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert f"{tmp_path / name} was not written, because it would be another model" in said
        assert "nats a token" in said and f"rounding in {dtype} explains" in said
    assert not (tmp_path / "new").exists() and not any((tmp_path / "empty").iterdir())
    assert not list(tmp_path.glob("*.part-*"))


def test_a_policy_saved_from_python_is_compared_too(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = ran(files, tmp_path / "run")
    policy = assay.open_run(run).policy
    assert (policy.save_pretrained(tmp_path / "good") / "config.json").exists()
    damaged(0.01, monkeypatch)
    with pytest.raises(InputError, match="bad was not written, because it would be another"):
        policy.save_pretrained(tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
