"""Labels that a recipe buys: counted, written before use, never paid for twice, and people may
answer tomorrow.
"""

from __future__ import annotations

import csv
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import Ask, InputError, Loop, Samples, Step, Task, World
from assay.errors import Waiting
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.records.runs import Run, read_lines
from assay.watch.ledger import Ledger, read_sheet
from assay.worlds import table

LOOP = Loop(max_steps=3, batch_size=2, num_generations=2, learning_rate=0.1)


@pytest.fixture
def world() -> World:
    return table.world(testbed="bandit", prompts=4, responses=24, pairs=50, members=1)


def asking(task: Task, *, loop: Loop = LOOP) -> Generator[Any, torch.Tensor, None]:
    """Draws two answers to two prompts a step and asks what they are worth."""
    seen: list[float] = []
    for t in task.carry.keep(seen=seen).steps(loop.max_steps):
        x = task.reference.sample(task.batch(loop, t), loop.num_generations, task.rng("sample", t))
        labels = yield Ask(x)
        task.carry.seen = [*task.carry.seen, *labels.flatten().tolist()]
        yield Step(task.reference, stats={"sum": sum(task.carry.seen)})


def filled(sheet: Path) -> list[dict[str, str]]:
    with sheet.open(newline="") as f:
        return list(csv.DictReader(f))


def test_labels_are_gold_counted_and_written_before_use(world: World, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", {})
    readings = list(measure(asking, world, loop=LOOP, run=run, config=MeasureConfig(eval_steps=1)))
    assert [r["labels"] for r in readings[:4]] == [0, 4, 8, 12]
    rows = read_lines(tmp_path / "a" / "labels.jsonl")
    assert len(rows) == 12 and readings[3]["stats"]["sum"] == pytest.approx(
        sum(r["label"] for r in rows)
    )
    assert {tuple(r["place"]) for r in rows if r["step"] == 1} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_resumed_run_pays_for_nothing_twice(world: World, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "a", {})
    paid: list[int] = []
    gold = world.gold
    assert gold is not None

    def counted(x: Samples) -> torch.Tensor:
        paid.append(x.present.sum())
        return gold(x)

    first = measure(
        asking, world, loop=LOOP, run=run, config=MeasureConfig(eval_steps=100, save_steps=100)
    )
    next(first)  # the reference, after the first step was pulled: four labels bought, nothing saved
    first.close()
    assert len(read_lines(tmp_path / "a" / "labels.jsonl")) == 4
    world.gold = counted
    readings = list(
        measure(
            asking,
            world,
            loop=LOOP,
            run=Run.open(tmp_path / "a"),
            config=MeasureConfig(eval_steps=100, save_steps=100),
            resume=True,
        )
    )
    assert len(read_lines(tmp_path / "a" / "labels.jsonl")) == 12 and readings[-2]["labels"] == 12
    asked = [n for n in paid if n == 4]
    assert len(asked) == 2  # steps 2 and 3: the first step's labels were in the ledger


def test_people_answer_in_a_sheet_and_the_run_goes_on(world: World, tmp_path: Path) -> None:
    sheet = tmp_path / "labels.csv"
    run = Run.create(tmp_path / "a", {})
    said: list[str] = []
    for waited in range(10):
        try:
            done = list(
                measure(
                    asking,
                    world,
                    loop=LOOP,
                    run=run,
                    config=MeasureConfig(eval_steps=1, labels=str(sheet)),
                    resume=waited > 0,
                )
            )
            break
        except Waiting as why:
            said.append(str(why))
        rows = filled(sheet)
        assert rows[-1]["label"] == "" and rows[-1]["completion"] and rows[-1]["prompt"]
        with sheet.open("w", newline="") as f:
            out = csv.DictWriter(f, rows[0].keys())
            out.writeheader()
            out.writerows({**r, "label": r["label"] or "1.5"} for r in rows)
    assert all("4 completions wait for a label" in s and str(sheet) in s for s in said)
    assert (
        waited == 3
        and done[-2]["labels"] == 12
        and done[-2]["stats"]["sum"] == pytest.approx(12 * 1.5)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,label\nx,good\n", "line 2, column 'label' holds 'good'"),
        ("id,label\nx,nan\n", "line 2, column 'label' holds 'nan'"),
        ("name,label\nx,1\n", "has no column 'id'; its columns are name, label"),
    ],
)
def test_a_sheet_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_sheet(path)


def test_a_world_without_gold_says_how_to_be_labeled(world: World) -> None:
    world.gold = None
    with pytest.raises(InputError, match="--labels"):
        list(measure(asking, world, loop=LOOP))


def test_an_answer_that_looks_like_a_formula_is_not_one(tmp_path: Path) -> None:
    from assay.watch.ledger import _append

    _append(tmp_path / "s.csv", [("recipe/1/0/0", "=HYPERLINK(1)", "-cmd|' /C calc'!A0", "")])
    row = filled(tmp_path / "s.csv")[0]
    assert row["prompt"].startswith("'=") and row["completion"].startswith("'-")


def test_rows_are_added_below_a_sheet_without_a_last_line_end(tmp_path: Path) -> None:
    """People's editors leave it out, move columns, and add some of their own."""
    from assay.watch.ledger import _append

    path = tmp_path / "s.csv"
    path.write_bytes("\ufefflabel,note,id,completion\r\n1.5,good,r/1/0/0,x".encode())
    _append(path, [("r/1/0/1", "ask", "answer", "")])
    assert path.read_bytes().startswith("\ufefflabel,note,id,completion\r\n1.5,good".encode())
    assert read_sheet(path) == {"r/1/0/0": 1.5, "r/1/0/1": None}
    with path.open(newline="", encoding="utf-8-sig") as f:
        assert list(csv.DictReader(f))[1] == {
            "label": "",
            "note": "",
            "id": "r/1/0/1",
            "completion": "answer",
        }
    assert list(tmp_path.iterdir()) == [path]


def test_the_labels_of_one_call_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between two of them would lose labels that were paid for."""
    from assay.watch import ledger as module
    from assay.watch.labelers.function import FunctionLabeler
    from assay.watch.labelers.questions import Question

    written: list[int] = []

    def write(path: Path, lines: list[object]) -> None:
        if path.name == "labels.jsonl":
            written.append(len(lines))

    monkeypatch.setattr(module, "write_lines", write)
    asked = [Question("watch f", 1, (i, 0), "p", "a", "b") for i in range(5)]
    labeler = FunctionLabeler(lambda prompts, first, second: [1.0] * len(first), "f", at_once=3)
    Ledger(tmp_path, None).compare(asked, labeler)
    assert written == [3, 2]
