"""Runs from Python gone on with: the same objects, other ones, moved folders, loops left early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint
from test_api_train import PROMPTS, SMALL, words

import assay
from assay import cli
from assay.core import InputError

ROWS = [
    {"prompt": f"Question {i}", "chosen": f"A good answer {i}.", "rejected": f"A bad one {i}."}
    for i in range(12)
]


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    model = str(checkpoint(tmp_path / "model", "llama"))
    return {**SMALL, "model": model, "prompts": PROMPTS, "rewards": words, "save_steps": 1}


def begun(out: Path, **given: Any) -> None:
    """A run that is left after its first step."""
    readings = iter(assay.train("leave_one_out", out=out, stream=True, **given))
    for _ in range(2):
        next(readings)
    readings.close()  # type: ignore[attr-defined]


def test_a_loop_that_is_left_early_does_not_end_the_run(given: dict[str, Any]) -> None:
    run = assay.train("leave_one_out", stream=True, **given)
    for reading in run:
        if reading["step"] == 1:
            break
    assert run.state == "running"
    assert [r["step"] for r in run] == [2, 3] and run.state == "done"
    assert [r["step"] for r in run] == [0, 1, 2, 3]


def test_other_rows_are_refused(given: dict[str, Any], tmp_path: Path) -> None:
    begun(tmp_path / "a", **given)
    with pytest.raises(InputError, match="began with other rows"):
        assay.train(
            "leave_one_out", out=tmp_path / "a", resume=True, **{**given, "prompts": PROMPTS[::-1]}
        )
    assert assay.train("leave_one_out", out=tmp_path / "a", resume=True, **given).state == "done"


def test_a_moved_run_goes_on(given: dict[str, Any], tmp_path: Path) -> None:
    begun(tmp_path / "a", **given)
    (tmp_path / "a").rename(tmp_path / "b")
    assert cli.main(["run", "--resume", "--out", str(tmp_path / "b"), "-q"]) == 0
    moved = assay.open_run(tmp_path / "b")
    assert moved.state == "done" and [r["step"] for r in moved.readings] == [0, 1, 2, 3]
    assert len(moved.policy.generate(["the old"])) == 1


def test_what_only_python_has_is_asked_for_again(
    given: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**given, "rewards": {"docs": lambda prompts, completions: [1.0] * len(prompts)}}
    (tmp_path / "docs").mkdir()  # a name is no path
    begun(tmp_path / "a", **given)
    rest = {k: v for k, v in given.items() if k != "rewards"}
    with pytest.raises(InputError, match="began with rewards=docs, which only Python has; pass"):
        assay.train("leave_one_out", out=tmp_path / "a", resume=True, **rest)
    assert cli.main(["run", "--resume", "--out", str(tmp_path / "a"), "-q"]) == 2
    assert "an object that only the Python program" in capsys.readouterr().err
    run = assay.train("leave_one_out", out=tmp_path / "a", resume=True, **given)
    assert run.state == "done" and run.record.about["rewards"] == ["docs"]


def test_an_unsaved_ensemble_is_kept_with_the_run(given: dict[str, Any], tmp_path: Path) -> None:
    rm = assay.fit_reward(ROWS, members=2)
    for again in ("python", "shell"):
        out = tmp_path / again
        begun(out, **{**given, "rewards": rm})
        if again == "python":
            assay.train("leave_one_out", out=out, resume=True, **{**given, "rewards": rm})
        else:
            assert cli.main(["run", "--resume", "--out", str(out), "-q"]) == 0
        assert assay.open_run(out).state == "done"
        assert (out / "inputs" / "rewards-0").is_dir()


def test_the_proxy_of_several_rewards_is_their_mean(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rm = assay.fit_reward(ROWS, members=2)
    several = {**given, "rewards": [rm, words], "quiet": False}
    run = assay.train("grpo", **several)
    assert "the proxy is the mean of 3 rewards" in capsys.readouterr().out
    for reading in run.readings:
        scores = reading["rewards"]
        assert scores is not None and reading["proxy"] == pytest.approx(sum(scores) / 3, abs=1e-5)
    run = assay.train("grpo", member=2, **several)
    assert all(r["proxy"] == r["rewards"][2] for r in run.readings)
    assert "mean of" not in capsys.readouterr().out


def test_impossible_values_are_one_sentence(given: dict[str, Any], tmp_path: Path) -> None:
    for more, said in (
        ({"beta": float("nan")}, "beta is nan; give a finite number"),
        ({"out": tmp_path / "no", "resume": True}, "holds no run to go on with"),
        ({"prompts": "one\ntext"}, "prompts is one text; pass a list of texts"),
    ):
        with pytest.raises(InputError, match=said):
            assay.train("grpo", **{**given, **more})
    with pytest.raises(InputError, match="n is 0"):
        assay.sample_best_of_n(given["model"], PROMPTS, words, n=0)
    run = assay.train("grpo", **{**given, "max_steps": 0})
    assert run.policy.step == 0


def test_a_run_without_held_out_prompts_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="held_out leaves no prompt to measure the policy on"):
        assay.train("grpo", **{**given, "held_out": -1})


def test_what_may_differ_is_taken_from_the_new_call(given: dict[str, Any], tmp_path: Path) -> None:
    begun(tmp_path / "a", **given)
    again = {**given, "on_collapse": "stop", "collapse_steps": 7, "nonfinite_rewards": "skip"}
    run = assay.train("leave_one_out", out=tmp_path / "a", resume=True, **again)
    said = json.loads((tmp_path / "a" / "run.json").read_text())["run"]
    assert run.state == "done"
    assert [said[k] for k in ("on_collapse", "collapse_steps", "nonfinite_rewards")] == [
        "stop", 7, "skip",
    ]  # fmt: skip
