"""A state belongs to one run, and what was changed is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import assay
from assay import cli
from assay.engine import checkpoint
from assay.errors import InputError

TABLE = ["--world", "table", "--max-steps", "4", "--eval-steps", "2", "--save-steps", "2"]


def begun(folder: Path, *more: str, recipe: str = "leave_one_out") -> Path:
    """A run that stopped after its save at step 2."""
    made = folder.with_name(f"{folder.name}-whole")
    assert cli.main(["run", recipe, *TABLE, "--policies", "--out", str(made), *more]) == 0
    from assay.records.runs import Run

    saved: dict[str, bytes] = {}
    real = Run.finish

    def stop(run: Run, more: Any = None) -> None:
        saved.update({p.name: p.read_bytes() for p in run.folder.iterdir() if p.is_file()})
        raise KeyboardInterrupt

    patch = pytest.MonkeyPatch()
    patch.setattr(Run, "finish", stop)
    try:
        cli.main(["run", recipe, *TABLE, "--policies", "--out", str(folder), *more])
    finally:
        patch.setattr(Run, "finish", real)
        patch.undo()
    assert (folder / "carry.safetensors").exists()
    return folder


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The sentence with which a command is refused."""
    capsys.readouterr()
    assert cli.main(list(argv)) == 2
    return capsys.readouterr().err


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    return begun(tmp_path / "a")


def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    state = {"next": 3, "weights": torch.arange(6.0), "half": torch.ones(3, dtype=torch.bfloat16)}
    checkpoint.save(path, state, {"step": 3})
    whole, same = path.read_bytes(), checkpoint.digest(state)
    refusals = 0
    for at in range(len(whole)):
        bit = 1 << (at % 8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        try:
            found = checkpoint.load(path)
        except InputError:
            refusals += 1
        else:
            assert checkpoint.digest(found) == same, f"byte {at}"
    assert refusals > 0.95 * len(whole)  # the rest is padding


def test_a_file_without_a_checksum_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"0": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"state": '{"$t":"0"}'})
    with pytest.raises(InputError, match="has no about"):
        checkpoint.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("other", "recipe", "name"),
    [
        (["--seed", "5"], "leave_one_out", "loop.seed 5"),
        (["--learning-rate", "0.5"], "leave_one_out", "loop.learning_rate 0.5"),
        ([], "grpo", "recipe 'grpo'"),
        (["--watch", "gold"], "leave_one_out", "watch"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_name(
    stopped: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    other: list[str],
    recipe: str,
    name: str,
) -> None:
    theirs = begun(tmp_path / "b", *other, recipe=recipe)
    shutil.copy(theirs / "carry.safetensors", stopped / "carry.safetensors")
    said = refused(capsys, "run", "--resume", "--out", str(stopped))
    assert name in said and "belongs to another run" in said


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("loop", "learning_rate", 0.5), ("loop", "seed", 9), ("loop", "max_steps", 8)],
)
def test_an_edited_record_is_refused_by_name(
    stopped: Path, capsys: pytest.CaptureFixture[str], part: str, key: str, value: float
) -> None:
    path = stopped / "run.json"
    record = json.loads(path.read_text())
    record[part][key] = value
    path.write_text(json.dumps(record))
    said = refused(capsys, "run", "--resume", "--out", str(stopped))
    assert f"{part}.{key}" in said and str(value) in said
    assert cli.main(["verify", str(stopped)]) == 1


def test_a_record_that_was_edited_before_the_first_save_is_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stopped / "carry.safetensors").unlink()
    path = stopped / "run.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 7'))
    assert "edited" in refused(capsys, "run", "--resume", "--out", str(stopped))


def test_readings_that_were_edited_are_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stopped / "readings.jsonl"
    path.write_text(path.read_text().replace('"step": 0', '"step": 1', 1))
    said = refused(capsys, "run", "--resume", "--out", str(stopped))
    assert "readings.jsonl was changed after it was written" in said


def test_policies_that_were_exchanged_are_refused(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = stopped.with_name("a-whole")
    two, four = kept / "policies" / "2.safetensors", kept / "policies" / "4.safetensors"
    shutil.copy(four, two)
    assert cli.main(["verify", str(kept)]) == 1
    assert "exchanged" in " ".join(capsys.readouterr().out.split())
    assert "exchanged" in refused(capsys, "watch", str(kept), "--by", "gold")


def test_a_run_that_nobody_touched_is_whole_and_goes_on(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", str(stopped), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wrong"] == 0
    assert cli.main(["run", "--resume", "--out", str(stopped)]) == 0
    assert cli.main(["verify", str(stopped)]) == 0
    whole = stopped.with_name("a-whole") / "samples.jsonl"
    assert (stopped / "samples.jsonl").read_bytes() == whole.read_bytes()


def test_every_file_that_is_damaged_is_named(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped.with_name("a-whole")
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        at = len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        capsys.readouterr()
        assert cli.main(["verify", str(run), "--json"]) == 1, path
        (findings,) = json.loads(capsys.readouterr().out)["folders"].values()
        wrong = {one["file"] for one in findings if one["wrong"]}
        assert path.relative_to(run).as_posix() in wrong
        path.write_bytes(whole)
    assert cli.main(["verify", str(run)]) == 0


def test_a_folder_that_holds_nothing_hides_no_other(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert cli.main(["verify", str(tmp_path / "empty"), str(stopped), "--json"]) == 1
    folders = json.loads(capsys.readouterr().out)["folders"]
    assert len(folders) == 2 and not any(one["wrong"] for one in folders[str(stopped)])


def test_verify_says_that_a_killed_run_stopped_and_names_policies_by_their_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from assay.records.runs import Run

    words = ["run", "leave_one_out", "--world", "table", "--max-steps", "12", "--eval-steps", "4"]
    assert cli.main([*words, "--policies", "--out", str(tmp_path / "a")]) == 0
    Run.open(tmp_path / "a").note({"state": "running"})  # as a kill leaves it
    capsys.readouterr()
    assert cli.main(["verify", str(tmp_path / "a"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["folders"].values()
    assert found[0]["note"] == "as it was written; stopped"
    named = [one["file"] for one in found if one["file"].startswith("policies/")]
    assert named == [f"policies/{n}.safetensors" for n in (4, 8, 12)]


@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_the_best_policy_so_far_is_read_before_training_goes_on(
    stopped: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    """A run needs it at its end: it was refused there, after days, and could not be closed."""
    path, read = stopped / "policies" / "2.safetensors", stopped / "readings.jsonl"
    whole, before = path.read_bytes(), read.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    said = refused(capsys, "run", "--resume", "--out", str(stopped))
    assert f"{path} is {'gone' if damage == 'gone' else 'damaged'}" in said
    assert read.read_bytes() == before, "nothing was trained"
    (stopped / "carry.safetensors").unlink()  # as it says
    assert cli.main(["run", "--resume", "--out", str(stopped)]) == 0


def test_python_finds_what_the_command_line_finds_and_a_policy_has_its_own_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import assay

    monkeypatch.chdir(tmp_path)
    text = (Path(assay.__file__).parent / "recipes" / "leave_one_out.py").read_text()
    Path("mine.py").write_text(text)
    words = ["run", "./mine.py", "--world", "table", "--max-steps", "4", "--eval-steps", "2"]
    assert cli.main([*words, "--policies", "--out", "a"]) == 0
    Path("mine.py").write_text(text + "# changed\n")
    path = Path("a/policies/4.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    capsys.readouterr()
    assert cli.main(["verify", "a", "--json"]) == 1
    (shown,) = json.loads(capsys.readouterr().out)["folders"].values()
    found = assay.open_run("a").verify()
    assert [(f.file, f.wrong, f.note) for f in found] == [tuple(one.values()) for one in shown]
    wrong = {f.file: f.wrong for f in found if f.wrong}
    assert any("mine.py" in name for name in wrong), wrong
    said = wrong["policies/4.safetensors"]
    assert "another run like this one (assay run --from)" in said and "delete it" not in said


def test_a_run_with_a_link_out_of_its_folder_is_not_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Policies that are needed no more are deleted, so a link would delete a user's models."""
    theirs = tmp_path / "models" / "mine.safetensors"
    theirs.parent.mkdir()
    theirs.write_text("precious")
    run = tmp_path / "run"
    for reading in assay.train("leave_one_out", world="table", max_steps=4, out=run, stream=True):
        if reading["step"] >= 1:
            break
    shutil.rmtree(run / "policies", ignore_errors=True)
    (run / "policies").symlink_to(theirs.parent)
    capsys.readouterr()
    assert cli.main(["run", "--resume", "--out", str(run), "-q"]) == 2
    assert f"policies is a link to {theirs.parent}" in capsys.readouterr().err
    assert theirs.read_text() == "precious"
