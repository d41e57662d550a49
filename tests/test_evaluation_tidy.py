"""A run that died between its last record and the deletion of what it needs no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from death_cases import LOOP

import assay
from assay import cli
from assay.engine.folder_lock import only_writer
from assay.records.runs import Run

RUN = ["run", "leave_one_out", *LOOP, "--save-steps", "1", "--out", "a"]
LEFT = ("carry.safetensors", "policies/1.safetensors", "kept-1.safetensors")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def died(*more: str) -> set[str]:
    """The files of a run that is done, as they are where nothing was deleted yet."""
    assert cli.main([*RUN, *more]) == 0
    whole = files()
    for name in LEFT:
        Path("a", name).write_bytes(b"weights")
    return whole


def files() -> set[str]:
    return {p.relative_to("a").as_posix() for p in Path("a").rglob("*") if p.is_file()}


def test_a_resume_deletes_what_the_result_does_not_name() -> None:
    whole = died()
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert files() == whole
    result = Run.open("a").record.result
    assert result is not None and result["last"]["file"] in whole


def test_policies_that_were_asked_for_stay() -> None:
    whole = died("--policies")
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert files() == {*whole, *LEFT} - {"carry.safetensors"}


def test_a_resume_from_python_deletes_it_as_well() -> None:
    whole = died()
    again = assay.train("leave_one_out", out="a", resume=True)
    assert again.state == "done" and files() == whole


def test_nothing_is_deleted_while_another_process_holds_the_run() -> None:
    whole = died()
    with only_writer(Path("a")) as mine:
        assert mine
        assert cli.main(["run", "--resume", "--out", "a"]) == 0
        assert set(LEFT) <= files()
    assert cli.main(["run", "--resume", "--out", "a"]) == 0
    assert files() == whole


def test_a_link_out_of_the_run_leads_to_nothing_that_is_deleted(tmp_path: Path) -> None:
    """A run that others sent says that it is done, and its policies are a link."""
    died()
    theirs = tmp_path / "models"
    Path("a/policies").rename(theirs)
    before = sorted(theirs.iterdir())
    Path("a/policies").symlink_to(theirs)
    cli.main(["run", "--resume", "--out", "a"])
    assert sorted(theirs.iterdir()) == before and len(before) > 1
