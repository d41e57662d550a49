"""A record's types: what is of another type is named, what is unknown is said, and what an earlier
assay wrote is read under today's names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_records_runs import run  # noqa: F401  (a fixture)

from assay.errors import InputError
from assay.records.checks import LABELS, QUESTIONS
from assay.records.runs import Run
from assay.records.schema import RunRecord
from assay.records.seals import seal_of


def test_a_value_of_another_type_is_named_with_what_was_expected(run: Run) -> None:
    (run.folder / "readings.jsonl").write_text('{"step": 0}\n{"step": 1, "golds": [0.5, "high"]}\n')
    with pytest.raises(InputError, match="line 2 has golds 'high' where a number was expected"):
        run.readings()
    (run.folder / "samples.jsonl").write_text('{"step": 0, "prompt": 3}\n')
    with pytest.raises(InputError, match="line 1 has prompt 3 where text was expected; repair"):
        run.samples()
    about = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(about | {"golds": "gold"}))
    with pytest.raises(InputError, match="has golds 'gold' where a list was expected; restore"):
        Run.open(run.folder)


def test_what_is_not_known_is_kept_and_said_once(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    about = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(about | {"weather": "fine"}))
    (run.folder / "readings.jsonl").write_text('{"step": 0, "mood": 1}\n')
    for _ in range(2):
        again = Run.open(run.folder)
        assert again.record.unknown == ["weather"] and again.about["weather"] == "fine"
        assert again.readings()[0]["mood"] == 1
    said = [r.getMessage().partition(" has ")[2] for r in caplog.records]
    assert said == [
        f"entries that this assay does not know, and does not use: {k}" for k in ("weather", "mood")
    ]
    again.finish()
    assert Run.open(run.folder).about["weather"] == "fine"


def test_a_line_nested_too_deeply_is_damaged(run: Run) -> None:
    path = run.folder / "readings.jsonl"
    path.write_bytes(b"[" * 100_000 + b"]" * 100_000 + b"\n")
    with pytest.raises(InputError, match=r"readings.jsonl, line 1 is damaged \(maximum recursion"):
        run.readings()


def test_a_record_is_typed(run: Run, tmp_path: Path) -> None:
    assert run.record.recipe == "plain" and run.record.loop == {"max_steps": 3}
    assert run.record.best_step is None and run.record.replayable
    other = Run.create(tmp_path / "other", RunRecord(recipe="plain", loop={"max_steps": 3}))
    # The seal covers the times, and the second may end between the two runs.
    times = ("started", "finished", "seal")
    assert {k: v for k, v in other.about.items() if k not in times} == {
        k: v for k, v in run.about.items() if k not in times
    }
    assert all(one.about["seal"] == seal_of(one.about) for one in (run, other))
    assert set(json.loads((run.folder / "run.json").read_text())) == {
        f.alias or name for name, f in RunRecord.model_fields.items()
    }


def test_labels_and_questions_are_typed(tmp_path: Path) -> None:
    question = {"id": "a", "who": "watch", "step": 5, "place": [0], "prompt": "p"}
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(question | {"first": "x", "second": "y"}) + "\n")
    assert QUESTIONS.read(tmp_path)[0]["second"] == "y" and LABELS.read(tmp_path) == []
    path.write_text(json.dumps(question) + "\n")
    with pytest.raises(InputError, match=r"questions\.jsonl, line 1 has no first; repair"):
        QUESTIONS.read(tmp_path)
    (tmp_path / "labels.jsonl").write_text(
        '{"id": "a", "undone": true}\n{"id": "a", "label": "x"}\n'
    )
    with pytest.raises(InputError, match="line 2 has label 'x' where a number was expected"):
        LABELS.read(tmp_path)


SCHEMA_1 = {
    "run.json": {
        "schema": 1,
        "assay": "0.1.0",
        "recipe": "leave_one_out",
        "state": "done",
        "chosen": 5,
        "judges": ["a", "b"],
        "loop": {
            "steps": 10,
            "batch": 4,
            "n": 2,
            "minibatch": 0,
            "lr": 0.1,
            "warmup": 0,
            "seed": 3,
        },
        "run": {"every": 5, "save": 10, "answers": 8, "keep": 1, "micro": 0, "strict": False},
        "fit": {"name": "bradley_terry", "steps": 7, "centre": 0.5},
        "world": {"name": "table", "n": 8},
    },
    "readings.jsonl": {
        "step": 5,
        "tag": "chosen",
        "judges": [0.5, 0.25],
        "judges_err": [0.1, 0.1],
        "drawn": 40,
        "judged": 41,
        "price": {"drawn": 1, "judged": 0},
    },
    "samples.jsonl": {"step": 5, "tag": "chosen", "answer": "yes", "judges": [0.5, 0.25]},
}


def test_a_record_of_schema_1_is_read_under_todays_names(tmp_path: Path) -> None:
    for name, value in SCHEMA_1.items():
        (tmp_path / name).write_text(json.dumps(value) + "\n")
    run = Run.open(tmp_path)
    assert (run.record.best_step, run.record.rewards) == (5, ["a", "b"])
    assert run.record.loop == {
        "max_steps": 10,
        "batch_size": 4,
        "num_generations": 2,
        "mini_batch_size": 0,
        "learning_rate": 0.1,
        "warmup_steps": 0,
        "seed": 3,
    }
    assert run.record.run == {
        "eval_steps": 5,
        "save_steps": 10,
        "eval_generations": 8,
        "log_completions": 1,
        "micro_batch_size": 0,
        "stop_on_nonfinite": False,
    }
    assert run.record.fit == {"name": "bradley_terry", "max_steps": 7, "centre": 0.5}
    assert run.record.world == {"name": "table", "n": 8}, "a world's arguments are its own"
    (reading,), (row,) = run.readings(), run.samples()
    assert (reading["tag"], reading["rewards"], reading["scored"]) == ("best", [0.5, 0.25], 41)
    assert reading["cost"] == {"generated": 1, "scored": 0} and reading["generated"] == 40
    assert (row["completion"], row["rewards"], row["tag"]) == ("yes", [0.5, 0.25], "best")
    for write in (
        lambda: run.append({"step": 6}),
        lambda: run.keep([]),
        lambda: run.cut(0),
        run.finish,
    ):
        with pytest.raises(InputError, match="schema 1.*can be read.*run again"):
            write()


def test_a_whole_number_of_a_record_stays_one() -> None:
    said = {"a": 8, "b": 8.5, "c": True, "d": None, "e": [1, 2.5, "x"]}
    for part in ("run", "arguments", "watch"):
        kept = RunRecord.model_validate({part: said}).plain()[part]
        assert repr(kept) == repr(said)
