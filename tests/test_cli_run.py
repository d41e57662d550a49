"""run, from the outside: the record it leaves, its exit codes, and one sentence for everything a
user can get wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.records.runs import Run

# fmt: off
SMALL = ["--world", "table", "--world.pairs", "40", "--world.members", "2", "--world.prompts", "4",
         "--world.vocabulary", "24", "--max-steps", "4", "--batch-size", "4",
         "--num-generations", "4", "--eval-steps", "2", "--eval-generations", "4"]
# fmt: on
MINE = '''"""A recipe of one's own."""
from assay.core import Loop, Paper, Step
from assay.loops import online, proxy_score
paper = Paper("Mine", "Me", 2026, "")

def recipe(task, *, lam: float = 0.5, loop=Loop()):
    for t, step in enumerate(online(task, loop, score=proxy_score(task))):
        {act}
        yield step
'''


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def mine(act: str = "pass", name: str = "mine.py") -> str:
    Path(name).write_text(MINE.replace("{act}", act))
    return f"./{name}"


def readings(folder: str) -> list[dict[str, Any]]:
    """A run's readings but for the time they took."""
    return [{k: v for k, v in r.items() if k != "seconds"} for r in Run.open(folder).readings()]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence of a command that exits 2."""
    capsys.readouterr()
    assert cli.main([*words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("building world")]
    assert len(lines) == 1, err
    return lines[0]


def test_a_run_leaves_a_whole_record_and_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "leave_one_out", *SMALL]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "runs/leave_one_out"
    about = Run.open("runs/leave_one_out").about
    assert about["state"] == "done"
    assert about["recipe"] == "leave_one_out"
    assert about["verb"] == "recipe"
    assert about["arguments"] == {"member": 0, "aggregate": ""}
    assert about["loop"]["max_steps"] == 4
    assert about["loop"]["learning_rate"] == 0.05, (
        "the world's constant, where no flag says otherwise"
    )
    assert about["world"]["name"] == "table"
    assert about["world"]["pairs"] == 40
    assert about["world"]["noise"] == 0.25, (
        "arguments that were left to default are in the record too"
    )
    assert about["rewards"] == ["judge0", "judge1"]
    assert about["gold_kind"] == "exact"
    assert [r["step"] for r in readings("runs/leave_one_out")][:3] == [0, 2, 4]
    assert sum(line.startswith("step") for line in out) == len(readings("runs/leave_one_out"))
    assert cli.main(["run", "leave_one_out", *SMALL]) == 0  # without --out, the next free name
    assert capsys.readouterr().out.splitlines()[-1] == "runs/leave_one_out-2"
    assert readings("runs/leave_one_out") == readings("runs/leave_one_out-2")


def test_flags_reach_the_recipe_and_a_record_is_replayed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (
        cli.main(
            [
                "run",
                "uncertainty_weighted",
                *SMALL,
                "--lam",
                "2",
                "--seed",
                "3",
                "--out",
                "a",
                "--json",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert json.loads(out)["state"] == "done"
    assert json.loads(out)["best"]["tag"] == "best"
    about = Run.open("a").about
    assert (about["arguments"]["lam"], about["seed"]) == (2.0, 3)
    assert cli.main(["run", "--from", "a", "--out", "b"]) == 0
    assert readings("a") == readings("b")
    assert {k: Run.open("b").about[k] for k in ("arguments", "loop", "world", "run")} == {
        k: about[k] for k in ("arguments", "loop", "world", "run")
    }
    assert cli.main(["run", "--from", "a", "--out", "c", "--lam", "0", "--world.noise", "0.1"]) == 0
    assert Run.open("c").about["arguments"]["lam"] == 0.0
    assert Run.open("c").about["world"] == {**about["world"], "noise": 0.1}


def test_a_file_of_ones_own_is_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", mine(), *SMALL, "--lam", "1", "--out", "a"]) == 0
    about = Run.open("a").about
    assert about["path"] == "mine.py"
    assert list(about["inputs"]) == ["mine.py"]
    assert cli.main(["run", "--from", "a", "--out", "b"]) == 0
    assert readings("a") == readings("b")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["leave_one_in"], "there is no recipe 'leave_one_in'; did you mean leave_one_out?"),
        (["zzz"], "there is no recipe 'zzz'; assay list names them"),
        (["agg"], "the nearest are merging, apo, grpo_guard; assay list names them"),
        ([], "assay run needs a recipe; assay list names them"),
        (["dpo", "sft"], "assay run takes one recipe, and found dpo, sft"),
        (["dpo", "--bete", "1"], "dpo in world grammar has no --bete; did you mean --beta?"),
        (["dpo", "--world", "tabel"], "there is no world 'tabel'; did you mean table?"),
        (
            ["dpo", "--world", "table", "--world.noize", "1"],
            "has no --world.noize; did you mean --noise?",
        ),
        (["dpo", "--world", "table", "--nois", "1"], "did you mean --noise?"),
        (
            ["grpo", "--kl-coef", "1"],
            "grpo in world grammar has no --kl-coef; did you mean --beta?",
        ),
        (["dpo", "--ray", "local"], "--ray is a flag of assay sweep, which takes the same flags"),
        (["dpo", "--seeds", "0..4"], "--seeds is a flag of assay sweep, which takes the same"),
        (["dpo", "--clip", "1"], "has no --clip; assay run dpo --help lists its flags"),
        (["dpo", "--num-train-epochs", "1"], "did you mean --epochs?"),
        (["dpo", "--max-prompt", "9"], "--max-prompt needs --model: a Hugging Face model id"),
        (["dpo", "--prompts", "p.jsonl"], "--prompts needs --model: a Hugging Face model id"),
        (["dpo", "--pairs", "p.jsonl"], "; a file of yours goes with --model"),
        (["dpo", "--modle", "x"], "did you mean --model?"),
        (["dpo", "--model-name-or-path", "x"], "did you mean --model?"),
        (
            ["dpo", "--world", "table", "--max-prompt", "9"],
            "--max-prompt is an argument of world hub",
        ),
        (["grpo", "--model", "x", "--prompts", "p"], "--rewards is required: reward models, each"),
        (["dpo", "--model", "x"], "--pairs is required: a file of preference pairs"),
        (["dpo", "--beta", "high"], "--beta is 'high', and a number was expected"),
        (["dpo", "--max-steps", "1.5"], "--max-steps is '1.5', and a whole number was expected"),
        (
            ["dpo", "--max-steps", "-1", "--world", "table"],
            "--max-steps is -1; it must be at least 0",
        ),
        (
            ["dpo", "--learning-rate", "0", "--world", "table"],
            "--learning-rate is 0.0; it must be above 0",
        ),
        (["dpo", "--world", "table", "--world.noise", "2"], "--world.noise is 2.0"),
        (
            ["dpo", "--eval-steps", "-1", "--world", "table"],
            "--eval-steps is -1; it must be at least 0",
        ),
        (
            ["dpo", "--eval-generations", "-1", "--world", "table"],
            "--eval-generations is -1; it must be at least 0",
        ),
        (
            ["dpo", "--micro-batch-size", "-1", "--world", "table"],
            "--micro-batch-size is -1; it must be at least 0",
        ),
        (["dpo", "--device", "cuda"], "--device is 'cuda'"),
        (["dpo", "--resume"], "--resume needs --out"),
        (["--resume", "--out", "nothing"], "assay run needs a recipe: nothing holds no run yet"),
        (["--from", "nothing"], "nothing is not a run: it has no run.json"),
        (["dpo", "--resume", "--from", "x", "--out", "y"], "give one of the two"),
        (["./nothing.py"], "there is no file ./nothing.py"),
        (
            ["bradley_terry"],
            "bradley_terry is a fit: start it by assay run RECIPE --fit bradley_terry",
        ),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refused(capsys, "run", *words)
    assert not Path("runs").exists(), "nothing is left behind by a refusal"


def test_what_was_refused_before_it_read_anything_can_be_asked_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused(capsys, "run", "leave_one_out", *SMALL, "--member", "99", "--out", "a")
    assert not Path("a").exists()
    assert cli.main(["run", "leave_one_out", *SMALL, "--out", "a"]) == 0


def test_no_step_at_all_still_reads_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["0" if before == "--max-steps" else word for before, word in zip(["", *SMALL], SMALL)]
    assert cli.main(["run", "leave_one_out", *words, "--out", "a"]) == 0
    assert [r["tag"] for r in Run.open("a").readings()] == ["reference"] and Run.open("a").about[
        "state"
    ] == "done"


def test_a_folder_that_exists_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("the only copy")
    said = refused(capsys, "run", "dpo", *SMALL, "--out", "full")
    assert "full exists, and a run is never overwritten: give another --out" in said
    assert Path("full/thesis.tex").read_text() == "the only copy"
    Path("file").write_text("x")
    assert "file exists" in refused(capsys, "run", "dpo", *SMALL, "--out", "file")
    assert cli.main(["run", "dpo", *SMALL, "--out", "a"]) == 0
    before = Path("a/readings.jsonl").read_bytes()
    assert "or go on with it by --resume" in refused(capsys, "run", "dpo", *SMALL, "--out", "a")
    assert Path("a/readings.jsonl").read_bytes() == before
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert "a is done already" in capsys.readouterr().err
    assert Path("a/readings.jsonl").read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("x")
    said = refused(capsys, "run", "dpo", *SMALL, "--out", "file/a")
    assert said.strip() == "assay: file/a: Not a directory; give another place"


@pytest.mark.parametrize("name", ["leave_one_out", "grpo", "kl_in_reward", "worst_case"])
def test_one_answer_has_no_sibling(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = [
        "1" if before == "--num-generations" else word for before, word in zip(["", *SMALL], SMALL)
    ]
    assert (
        "--num-generations is 1, and these advantages compare the completions of a prompt"
        in refused(capsys, "run", name, *one)
    )


@pytest.mark.parametrize("act", ["yield 3", "yield None", "yield []"])
def test_what_is_no_step_is_one_sentence(act: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "where a Step, a list of Steps or an Ask was expected" in refused(
        capsys, "run", mine(act), *SMALL
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("def recipe(:", "mine cannot be used"),
        ("x = 1", "it has 0 functions named recipe, fit or study"),
        (
            MINE.replace("{act}", "pass").replace("lam", "max_steps"),
            "has a constant named max_steps, which is a flag of every run",
        ),
        (
            MINE.replace("{act}", "pass") + "import nowhere_at_all\n",
            "mine.py cannot be imported (ModuleNotFoundError",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(
    text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(text)
    assert sentence.removeprefix("mine ") in refused(capsys, "run", "./mine.py", *SMALL)


def test_the_flags_that_are_said_to_be_of_a_sweep_are_its_own() -> None:
    import inspect

    from assay.cli.elsewhere import OF_A_SWEEP
    from assay.cli.run import run_
    from assay.cli.sweep import sweep_

    sweeps, runs = (set(inspect.signature(f).parameters) for f in (sweep_, run_))
    assert set(OF_A_SWEEP) == sweeps - runs - {"recipes"}
