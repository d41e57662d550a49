"""compare --per-seed: runs whose files go with the seed are one world, and are paired by seed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from test_evaluation_compare import method, run

import assay
from assay import cli
from assay.errors import InputError
from assay.evaluation.compare import compare


def _with_reward(folder: Path, reward_of: dict[tuple[str, int], str]) -> Path:
    """Runs of two methods on three seeds, whose records name and seal a reward each."""
    for recipe, seed in reward_of:
        better = 0.5 if recipe == "mine" else 0.0
        run(folder, recipe, seed, peak=1.0 + seed + better, end=-1.0)
    for file in folder.rglob("run.json"):
        about = json.loads(file.read_text())
        reward = reward_of[about["recipe"], about["seed"]]
        about["world"]["rewards"] = f"fits/{reward}"
        about["inputs"] = {f"fits/{reward}": f"digest of {reward}"}
        file.write_text(json.dumps(about))
    return folder


OWN = {(recipe, seed): f"r{seed}" for recipe in ("plain", "mine") for seed in range(3)}


def test_a_reward_for_each_seed_is_another_world_each_unless_it_is_said(tmp_path: Path) -> None:
    folder = _with_reward(tmp_path, OWN)
    apart, _ = compare([folder], baseline="plain")
    assert [w["seeds"] for w in apart["worlds"]] == [1, 1, 1]
    found, drawn = compare([folder], baseline="plain", per_seed=["rewards"])
    assert len(found["worlds"]) == 1 and len(drawn) == 1
    gap = method(found, "mine")["against"]["peak_plain"]
    assert (gap["seeds"], gap["above"]) == (3, 3)
    assert gap["mean"] == pytest.approx(0.5) and gap["half"] == pytest.approx(0.0, abs=1e-9)


def test_the_page_says_that_rewards_go_with_the_seed(tmp_path: Path) -> None:
    folder = _with_reward(tmp_path, OWN)
    text = str(assay.compare(folder, baseline="plain", per_seed="rewards"))
    assert "Each seed has its own rewards, which all methods share." in text
    assert "Each seed has its own" not in str(assay.compare(folder, baseline="plain"))


def test_runs_of_one_seed_share_what_goes_with_it(tmp_path: Path) -> None:
    folder = _with_reward(tmp_path, {**OWN, ("mine", 1): "r2"})
    with pytest.raises(InputError, match=r"have the same seed, 1, and different rewards"):
        compare([folder], baseline="plain", per_seed=["rewards"])


def test_a_method_that_reads_no_pairs_shares_a_world_with_one_that_does(tmp_path: Path) -> None:
    folder = _with_reward(tmp_path, OWN)
    for file in folder.rglob("run.json"):
        about = json.loads(file.read_text())
        about["world"]["pairs"] = f"pairs-{about['seed']}" if about["recipe"] == "mine" else None
        file.write_text(json.dumps(about))
    found, _ = compare([folder], baseline="plain", per_seed=["rewards", "pairs"])
    assert [w["seeds"] for w in found["worlds"]] == [3]


def test_a_name_that_no_run_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _with_reward(tmp_path, OWN)
    words = ["compare", str(folder), "--baseline", "plain", "--per-seed"]
    assert cli.main([*words, "reward"]) == 2
    assert "names reward, and no run has an argument" in " ".join(capsys.readouterr().err.split())
    assert cli.main([*words, "rewards"]) == 0


def test_names_may_have_commas_between_them(tmp_path: Path) -> None:
    folder = _with_reward(tmp_path, OWN)
    for file in folder.rglob("run.json"):
        about = json.loads(file.read_text())
        about["world"]["pairs"] = f"pairs-{about['seed']}"
        file.write_text(json.dumps(about))
    words = ["compare", str(folder), "--baseline", "plain", "--per-seed"]
    assert cli.main([*words, "rewards,pairs"]) == 0
    assert cli.main([*words, "rewards,reward"]) == 2


def test_records_and_readings_alone_compare_without_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison reads nothing else of a run, so it says nothing of samples that are gone."""
    folder = _with_reward(tmp_path, OWN)
    run = next(folder.rglob("readings.jsonl")).parent
    about = json.loads((run / "run.json").read_text())
    lines = (run / "readings.jsonl").read_bytes()
    sealed = [len(lines), hashlib.sha256(lines).hexdigest()]
    about["files"] = {"readings.jsonl": sealed, "samples.jsonl": sealed}
    (run / "run.json").write_text(json.dumps(about))
    words = ["compare", str(folder), "--baseline", "plain", "--per-seed", "rewards"]
    assert cli.main(words) == 0
    assert "samples.jsonl" not in capsys.readouterr().err
    (run / "readings.jsonl").write_bytes(lines + b" ")
    assert cli.main(words) == 0
    assert "readings.jsonl" not in capsys.readouterr().err  # only ever appended to
    about["files"]["readings.jsonl"][1] = "0" * 64
    (run / "run.json").write_text(json.dumps(about))
    assert cli.main(words) == 0
    assert "readings.jsonl was changed" in " ".join(capsys.readouterr().err.split())


def test_files_of_one_content_are_one_world_wherever_they_are_kept(tmp_path: Path) -> None:
    """Also a record of an assay that did not know an argument which holds nothing."""
    folder = _with_reward(tmp_path, OWN)
    for i, file in enumerate(sorted(folder.rglob("run.json"))):
        about = json.loads(file.read_text())
        home = f"/home/{i}"
        about["world"]["gold"] = f"{home}/gold.py:mine"
        about["inputs"][f"{home}/gold.py"] = "0123"
        if i % 2:
            about["world"]["preference"] = ""
        file.write_text(json.dumps(about))
    found, _ = compare([folder], baseline="plain", per_seed=["rewards"])
    assert [w["seeds"] for w in found["worlds"]] == [3]
    about["inputs"][f"{home}/gold.py"] = "4567"  # edited between two runs
    file.write_text(json.dumps(about))
    found, _ = compare([folder], baseline="plain", per_seed=["rewards"])
    assert len(found["worlds"]) == 2
