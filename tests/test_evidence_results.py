"""Results of claims: those that come with assay, and yours over them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.evidence import claims
from assay.registry import catalogue


def test_results_come_with_assay_and_yours_go_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside the checkout too: a folder that holds nothing, then one with a result of its own."""
    monkeypatch.chdir(tmp_path)

    def told(*words: str) -> dict[str, list[dict[str, Any]]]:
        assert cli.main(["claims", "--json", *words]) == 0
        found: dict[str, list[dict[str, Any]]] = {}
        for row in json.loads(capsys.readouterr().out):
            found.setdefault(row["name"], []).append(row)
        return found

    ours = told()
    assert ours["grpo"][0]["seeds"] > 1 and ours["grpo"][0]["verdict"] != "not run"
    assert told("--results", "claims")["grpo"][0]["verdict"] == "not run", "that folder alone"
    kept = json.loads((claims.shipped() / "grpo.table.json").read_text(encoding="utf-8"))
    Path("claims").mkdir()
    cut = {k: v[:2] if k in ("seeds", "effects", "drops") else v for k, v in kept.items()}
    Path("claims/grpo.table.json").write_text(json.dumps(cut))
    assert [r["seeds"] for r in told()["grpo"]] == [2]
    assert told()["dpo"] == ours["dpo"]


def test_the_wheel_has_the_results() -> None:
    """One copy in the repository, which the build puts into the package."""
    root = catalogue.HOME.parent
    built = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    assert built["build"]["targets"]["wheel"]["force-include"] == {"claims": "assay/evidence/found"}
    assert claims.shipped() == root / "claims"
