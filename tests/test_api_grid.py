"""`assay.sweep` and `assay.compare`: a grid of runs, gone on with, and set side by side."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint

import assay
from assay.api.notebook import verdict
from assay.core import InputError

TABLE: dict[str, Any] = {"world": "table", "max_steps": 4, "eval_steps": 2, "quiet": True}


def test_a_sweep_goes_on_and_is_compared(tmp_path: Path) -> None:
    recipes = {"leave_one_out": {}, "kl_in_loss": {"beta": [0.1, 1.0]}}
    runs = assay.sweep(recipes, out=tmp_path, seeds=range(2), **TABLE)
    assert [r.record.about["recipe"] for r in runs] == ["leave_one_out"] * 2 + ["kl_in_loss"] * 4
    assert {r.record.about["world"]["seed"] for r in runs} == {0, 1}
    when = [(r.folder / "run.json").stat().st_mtime_ns for r in runs if r.folder]
    again = assay.sweep(recipes, out=tmp_path, seeds=range(2), **TABLE)
    assert [(r.folder / "run.json").stat().st_mtime_ns for r in again if r.folder] == when
    found = assay.compare(runs)
    assert found.result["baseline"] == "leave_one_out"
    page = found._repr_html_()
    assert "kl_in_loss" in str(found) and "<img" in page
    assert page.count("<table>") == 2 and "|---" not in page and "<pre>" not in page
    assert {p.name for p in found.save(tmp_path / "c").iterdir()} >= {"compare.html", "compare.md"}


def test_runs_in_memory_are_compared() -> None:
    runs = [
        assay.train(name, seed=s, world__seed=s, **TABLE)
        for name in ("leave_one_out", "grpo")
        for s in (0, 1)
    ]
    found = assay.compare(runs, baseline="leave_one_out")
    assert found.result["worlds"][0]["seeds"] == 2


def test_runs_of_the_same_rows_from_python_are_one_world(tmp_path: Path) -> None:
    def brevity(prompts: Any, completions: Any, **columns: Any) -> list[int]:
        return [-len(text) for text in completions]

    small: dict[str, Any] = {
        "model": checkpoint(tmp_path / "model", "llama"),
        "rewards": brevity,
        "gold": lambda prompts, completions: [1.0] * len(completions),
        "held_out": 1,
        "max_tokens": 4,
        "max_steps": 2,
        "batch_size": 1,
        "num_generations": 2,
        "quiet": True,
    }
    recipes, rows = ["leave_one_out", "grpo"], ["Hi", "Hello", "Hey"]
    runs = assay.sweep(recipes, out=tmp_path / "a", prompts=rows, **small)
    found = assay.compare(runs)
    (world,) = found.result["worlds"]
    assert len(world["methods"]) >= 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the figure of a gold that does not move
        assert "<img" in found._repr_html_()
    other = assay.sweep(["grpo"], out=tmp_path / "b", prompts=[*rows, "Ho"], **small)
    with pytest.raises(InputError, match="no run of the baseline leave_one_out"):
        assay.compare([*runs, *other])


def test_the_verdict_compares_on_the_same_completions() -> None:
    run = assay.train("leave_one_out", **TABLE)
    assert run.best is not None and run.best.reading is not None
    last = run.best.reading["stats"]["fresh/gold_last"]
    said = verdict(run)
    assert "Its gold is" not in said
    if run.best.step != 4:
        assert f"Step 4, the last, has {last:.4g} on the same completions." in said


def test_refusals_come_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recipe 'nope'"):
        assay.sweep(["leave_one_out", "nope"], out=tmp_path / "a", **TABLE)
    with pytest.raises(InputError, match="give a list of values"):
        assay.sweep(["leave_one_out"], out=tmp_path / "a", over={"beta": "0.1"}, **TABLE)
    assert not (tmp_path / "a").exists()
    with pytest.raises(InputError, match="runs is empty"):
        assay.compare([])


def test_a_sweep_over_rows_from_python_reads_each_of_them(tmp_path: Path) -> None:
    """Rows from Python all have one name, and worlds are shared between runs."""
    rows = [["one", "two", "three"], ["uno", "due", "tre"]]
    runs = assay.sweep(
        "leave_one_out",
        out=tmp_path / "runs",
        over={"prompts": rows},
        model=checkpoint(tmp_path / "model", "llama"),
        rewards=lambda prompts, completions, **columns: [len(c) for c in completions],
        held_out=1,
        max_tokens=4,
        max_steps=1,
        quiet=True,
    )
    read = [{c["prompt"] for c in run.completions} for run in runs]
    assert read[0] <= set(rows[0]) and read[1] <= set(rows[1]) and all(read)


def test_every_setting_is_checked_before_the_first_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no betta; did you mean beta"):
        assay.sweep(
            {"leave_one_out": {}, "kl_in_loss": {"betta": [1]}}, out=tmp_path / "a", **TABLE
        )
    for over, sentence in (
        ({"lr": [0.1], "learning_rate": [0.2]}, "learning-rate is given twice|learning_rate is"),
        ({"seed": [0]}, "seeds sets the run's seed and the world's; take seed out"),
        ({"world__seed": [0]}, "take seed out"),
        ({"rewards": [len]}, "has a builtin_function_or_method, which cannot be part"),
    ):
        with pytest.raises(InputError, match=sentence):
            assay.sweep("leave_one_out", out=tmp_path / "a", over=over, seeds=[1], **TABLE)
    assert not (tmp_path / "a").exists()


def test_a_run_of_other_arguments_is_not_taken_for_the_sweep_s(tmp_path: Path) -> None:
    (before,) = assay.sweep("leave_one_out", out=tmp_path, **TABLE)
    with pytest.raises(InputError, match="was begun with max_steps 4 and this asks for 6"):
        assay.sweep(["grpo", "leave_one_out"], out=tmp_path, **{**TABLE, "max_steps": 6})
    assert before.folder and [p.name for p in tmp_path.iterdir()] == ["leave_one_out"]


def test_a_failure_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from assay.core import Loop, Paper\nfrom assay.loops import member_scores, online\n"
        "paper = Paper('t', 'me', 2026, 'https://example.org')\n"
        "def recipe(task, *, lam: float = 1.0, loop=Loop()):\n"
        "    if lam > 1: raise RuntimeError('too much')\n"
        "    yield from online(task, loop, score=lambda x: member_scores(task)(x).mean(0))\n"
    )
    runs = assay.sweep(file, over={"lam": [2, 0.5]}, out=tmp_path / "s", **TABLE)
    assert [r.state for r in runs] == ["failed", "done"]
    assert "lam=2 failed: too much" in caplog.text


def test_a_folder_has_one_name_however_an_argument_is_spelled(tmp_path: Path) -> None:
    (run,) = assay.sweep("leave_one_out", over={"lr": [0.1]}, out=tmp_path, **TABLE)
    assert run.folder == tmp_path / "leave_one_out" / "learning_rate=0.1"


def test_what_a_sweep_leaves_out_is_at_its_default(tmp_path: Path) -> None:
    """Where it was taken from the run that is there, a grid was finished under two settings."""
    small = {**TABLE, "max_steps": 2}

    def swept(out: str, recipe: str = "kl_in_loss", **more: Any) -> list[Any]:
        return assay.sweep([recipe], out=tmp_path / out, seeds=[0], **small, **more)

    for out, given in (
        ("rate", {"learning_rate": 0.1}),
        ("beta", {"beta": 0.5}),
        ("noise", {"world__noise": 0.1}),
        ("micro", {"log_completions": 2}),
        ("watch", {"watch": assay.Watch(labeler="gold", budget=20)}),
    ):
        (run,) = swept(out, **given)
        (again,) = swept(out, **given)
        assert run.readings == again.readings
        with pytest.raises(InputError, match="holds a run with other arguments .*another out"):
            swept(out)
    with pytest.raises(InputError, match="watch.budget 20, and this asks for 40"):
        swept("watch", watch=assay.Watch(labeler="gold", budget=40))
    swept("free", save_steps=1, micro_batch_size=4)
    swept("free")
