"""Every recipe that runs on people's models: two processes that each hold half of the weights give
the readings of one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_contract import MODULES, differences
from test_sharded import ASKS, Launch, given, one_thread, readings  # noqa: F401  # fixtures

from assay import cli

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.full
# run in world hub, but compute with weights that are exchanged
REFUSED = ("conditioned_policies",)


def words_of(given: dict[str, str], recipe: str, out: Path) -> list[str]:
    home = given["home"]
    words = (
        f"{recipe} --world hub --model {given['llama']} --prompts {home}/asks.jsonl "
        f"--pairs {home}/pairs.jsonl --demos {home}/demos.jsonl "
        f"--rewards {home}/judges.py:words,{home}/judges.py:letters "
        f"--gold {home}/judges.py:letters --held-out 4 --max-tokens 24 --max-steps 2 "
        "--batch-size 5 -n 3 --eval-generations 2 --eval-steps 1 --lr 0.003 --dtype float64"
    )
    return [*words.split(), "--out", str(out)]


def test_two_processes_are_one_for_every_recipe(
    given: dict[str, str],
    tmp_path: Path,
) -> None:
    demos = [{"prompt": a, "completion": "a nice old answer"} for a in ASKS]
    text = "\n".join(map(json.dumps, demos))
    (Path(given["home"]) / "demos.jsonl").write_text(text, encoding="utf-8")
    names = [m.__name__.rpartition(".")[2] for m in MODULES if hasattr(m, "recipe")]
    ran = [n for n in names if cli.main(["run", *words_of(given, n, tmp_path / f"{n}-1")]) == 0]
    assert len(ran) >= 24 and set(REFUSED) < set(ran)
    jobs: dict[str, Any] = {
        n: [*words_of(given, n, tmp_path / f"{n}-2"), "--fsdp", "--fsdp-gather", "layer"]
        for n in ran
        if n not in REFUSED
    }
    with Launch(tmp_path, jobs) as launch:
        launch.well()
    for n in jobs:
        a, b = (readings(tmp_path / f"{n}-{k}") for k in (1, 2))
        assert differences(a, b, 1e-7) == [], n
        assert max(r["kl"] or 0.0 for r in a) > 1e-3, n


def test_a_recipe_that_exchanges_weights_is_refused(
    given: dict[str, str],
    tmp_path: Path,
) -> None:
    (Path(given["home"]) / "demos.jsonl").write_text(
        json.dumps({"prompt": ASKS[0], "completion": "yes"}), encoding="utf-8"
    )
    words = [*words_of(given, REFUSED[0], tmp_path / "run"), "--fsdp"]
    with Launch(tmp_path, {"run": words}) as launch:
        for code, said in launch.ended():
            assert code == 2 and "weights that are divided over processes cannot follow" in said
