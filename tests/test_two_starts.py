"""Two processes on one folder, in the moments between the locks that they take."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cli_run import SMALL, _elsewhere, readings, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.api import execution, recording
from assay.core import InputError
from assay.engine import folder_lock
from assay.records.runs import Run


def then(does: Callable[[], Any]) -> Callable[..., Any]:
    """`begin_record`, and what another process does before this one holds the folder again."""
    begin = execution.begin_record

    def begun(*given: Any) -> Any:
        run = begin(*given)
        does()
        return run

    return begun


def test_a_refused_start_leaves_the_run_that_another_process_goes_on_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Any] = []
    hold = then(lambda: held.append(folder_lock.hold(Path("a"))))
    with monkeypatch.context() as patch:
        patch.setattr(execution, "begin_record", hold)
        assert "is writing to a" in refused(capsys, "run", "leave_one_out", *SMALL, "--out", "a")
    assert Path("a/run.json").exists(), "the other process's run"
    held.pop().release()
    assert cli.main(["run", "--resume", "--out", "a"]) == 0


def test_a_run_that_another_process_finished_is_not_run_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish() -> None:
        patch.undo()
        assert cli.main(["run", "--resume", "--out", "a"]) == 0
        capsys.readouterr()

    with monkeypatch.context() as patch:
        patch.setattr(execution, "begin_record", then(finish))
        assert "the run is done now" in refused(
            capsys, "run", "leave_one_out", *SMALL, "--out", "a"
        )
    assert Run.open("a").record.state == "done"
    assert [r["step"] for r in readings("a")] == [0, 2, 4, 4]


def test_a_second_start_on_a_run_is_told_who_writes_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "leave_one_out", *SMALL, "--policies", "--out", "a"]
    assert cli.main(words) == 0
    assert "is writing" not in refused(capsys, *words)
    held = folder_lock.hold(Path("a"))
    assert held is not None
    said = refused(capsys, *words)
    assert f"process {os.getpid()} on " in said and "--resume when that has ended" in said
    watched = refused(capsys, "watch", "a", "--by", "gold")
    assert f"process {os.getpid()} on " in watched and "wait until it has ended" in watched
    held.release()


def test_leftovers_of_a_start_are_deleted_by_the_one_that_holds_the_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second start that had seen them must not delete what the first has made since."""
    Path("a/inputs").mkdir(parents=True)
    Path("a/.owner.json").write_text("{}")
    assert recording.was_killed(Path("a"))

    def late(folder: Path) -> bool:
        Run.begin(folder, {"recipe": "mine"})  # as the first start does in between
        return True

    monkeypatch.setattr(recording, "was_killed", late)
    with pytest.raises(InputError, match="never overwritten"), recording._begun(Path("a")):
        pass
    assert Run.open("a").record.recipe == "mine"


def test_a_file_of_a_user_makes_a_folder_no_leftover() -> None:
    Path("a").mkdir()
    Path("a/.owner.json").write_text("{}")
    Path("a/run.json.4711-0a1b-c0ffee.new").write_text("{")
    assert recording.was_killed(Path("a"))
    Path("a/run.json.bak").write_text("precious")
    assert not recording.was_killed(Path("a"))
