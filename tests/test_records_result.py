"""One best policy of a run: by the watch, by gold, or the last; the same for all who ask."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from assay.engine.folder_lock import only_writer
from assay.errors import InputError, Waiting
from assay.records.best import best, last, policies, state_of, state_said
from assay.records.result import Kept, Watched, chosen, from_earlier
from assay.records.runs import Run
from assay.records.writing import writing

LAST: Kept = {"step": 40, "tag": "", "file": "policies/40.safetensors"}
GOLD: Kept = {"step": 30, "tag": "", "file": "policies/30.safetensors"}
BACK: Kept = {"step": 20, "tag": "", "file": "kept-20.safetensors"}


def watched(word: str) -> Watched:
    return {"stopped": word == "stop", "word": word, "at": 40, "best": 20, "labels": 77}


@pytest.mark.parametrize(
    ("parts", "step", "by", "said"),
    [
        ({"watch": watched("stop"), "back": BACK, "gold": GOLD}, 20, "watch", "by its 77 labels"),
        ({"watch": watched("go_on"), "gold": GOLD}, 40, "last", "no labels say that an earlier"),
        ({"watch": watched("cannot_tell")}, 40, "last", "could not tell at the end"),
        ({"gold": GOLD, "readings": 9, "again": "0.4 ± 0.1"}, 30, "gold", "highest of 9 readings"),
        ({}, 40, "last", "neither gold nor a watch"),
    ],
)
def test_the_watch_chooses_then_gold_then_nothing(
    parts: dict[str, Any], step: int, by: str, said: str
) -> None:
    found = chosen(last=LAST, **parts)
    assert (found["step"], found["chosen_by"]) == (step, by) and said in found["reason"]


def test_a_result_of_an_earlier_assay_is_read(tmp_path: Path) -> None:
    early = {"step": 20, "file": "kept-20.safetensors", "stopped": True, "at": 40, "best": 20}
    Run.create(tmp_path / "run", {"recipe": "mine"})
    path = tmp_path / "run" / "run.json"
    about = json.loads(path.read_text()) | {"state": "done", "result": {**early, "labels": 5}}
    path.write_text(json.dumps(about))
    result = Run.open(tmp_path / "run").record.result
    assert result is not None and result["watch"] is not None
    assert (result["best"]["step"], result["best"]["chosen_by"]) == (20, "watch")
    assert result["watch"]["labels"] == 5 and from_earlier(result) is result


def test_an_unfinished_run_has_a_best_of_what_it_kept(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"recipe": "mine", "verb": "recipe"})
    with pytest.raises(InputError, match="has no reading yet; go on with it"):
        best(run)
    (run.folder / "policies").mkdir()
    for step, gold in ((0, 0.1), (5, 0.7), (10, 0.4)):
        run.append({"step": step, "gold": gold, "tag": "" if step else "reference"})
        (run.folder / f"policies/{step}.safetensors").touch()
    top = best(run)
    assert (top.step, top.chosen_by, top.file) == (5, "gold", run.folder / "policies/5.safetensors")
    assert top.reading is not None and top.reading["gold"] == 0.7
    assert last(run)["step"] == 10 and (5, "") in policies(run)


def test_a_record_says_how_its_writer_ended(tmp_path: Path) -> None:
    def ended(why: BaseException | None) -> Run:
        run = Run.create(tmp_path / f"{type(why).__name__}", {"verb": "recipe"})
        run.append({"step": 5})
        caught = nullcontext() if why is None else pytest.raises(type(why))
        with caught, writing(run):
            assert state_of(run) == "running", "it is held"
            if why is not None:
                raise why
        return Run.open(run.folder)

    for why, state in (
        (KeyboardInterrupt(), "interrupted"),
        (Waiting("labels"), "waiting"),
        (RuntimeError("out of luck"), "failed"),
        (None, "stopped"),
    ):
        run = ended(why)
        assert state_of(run) == state
        assert (f"assay run --resume --out {run.folder}" in state_said(run)) == (state != "failed")
        with writing(run):
            assert run.record.state == "running" and run.record.error is None


def test_a_run_that_another_writes_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    before = (run.folder / "run.json").read_bytes()
    with (
        only_writer(run.folder),
        pytest.raises(InputError, match=" is writing to"),
        writing(run),
    ):
        raise AssertionError("the block must not run")
    assert (run.folder / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", ["../other/policies/5.safetensors", "/etc/passwd", ".", ""])
def test_a_record_names_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    run = Run.create(tmp_path / "run", {"recipe": "mine"})
    run.append({"step": 5, "gold": 0.5})
    kept = {"step": 5, "tag": "", "file": name}
    run.finish(
        {
            "result": {
                "best": {**kept, "chosen_by": "last", "reason": "it is"},
                "last": kept,
                "watch": None,
            }
        }
    )
    for read in (best, policies):
        with pytest.raises(InputError, match=r"no file of the run's folder; restore it"):
            read(run)
