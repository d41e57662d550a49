"""Two processes that write one folder: the first one's stays whole, and the second is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_records_export import ran
from test_worlds_hub import files  # noqa: F401  # a fixture

from assay import cli
from assay.api.comparison import compare
from assay.engine.folder_lock import only_writer
from assay.engine.whole_folder import whole_folder
from assay.errors import InputError


def another(out: Path) -> None:
    """What another process writes in the meantime."""
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text("early")


def late(out: Path) -> None:
    with whole_folder(out) as fresh:
        (fresh / "config.json").write_text("late")
        another(out)


@pytest.mark.parametrize("empty_before", [False, True])
def test_the_second_writer_of_a_folder_is_told_and_deletes_nothing(
    tmp_path: Path, empty_before: bool
) -> None:
    out = tmp_path / "model"
    if empty_before:
        out.mkdir()
    with pytest.raises(InputError, match="model was written by another process in the meantime"):
        late(out)
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "config.json"]
    assert (out / "config.json").read_text() == "early"


def test_an_export_does_not_delete_the_one_that_was_first(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, out = ran(files, tmp_path / "run"), tmp_path / "exported"

    def card(*_: Any) -> str:
        another(out)
        return ""

    monkeypatch.setattr("assay.records.export.card", card)
    assert cli.main(["export", str(run), "--out", str(out)]) == 2
    assert "was written by another process" in capsys.readouterr().err
    assert (out / "config.json").read_text() == "early"


def test_a_fit_does_not_delete_the_one_that_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"q{i}", "chosen": f"a {i} b", "rejected": "c"} for i in range(8)]
    file, out = tmp_path / "pairs.jsonl", tmp_path / "reward"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr("assay.rewards.fitted.write_about", lambda *_: another(out))
    assert cli.main(["fit", str(file), "--members", "1", "--out", str(out)]) == 2
    assert "was written by another process" in capsys.readouterr().err
    assert (out / "config.json").read_text() == "early"


def test_a_comparison_is_written_by_one_process(tmp_path: Path) -> None:
    """Two at once left the table of one beside the numbers of the other."""
    words = ["leave_one_out", "--world", "table", "--max-steps", "1", "--eval-generations", "2"]
    assert cli.main(["run", *words, "--out", str(tmp_path / "run")]) == 0
    found, out = compare(tmp_path / "run"), tmp_path / "comparison"
    out.mkdir()
    with only_writer(out), pytest.raises(InputError, match="process .* is writing to .*comparison"):
        found.save(out)
    assert not list(out.glob("compare*"))
    found.save(out)
    found.save(out)  # an older comparison is written over
    assert not list(out.glob(".*"))
