"""The record's laws: nothing written is lost or doubled, nothing unmeasured becomes a number, every
damage is named.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import InputError
from assay.records.checks import COMPLETIONS, READINGS
from assay.records.lines import plain, read_lines, write_lines
from assay.records.runs import Run
from assay.records.schema import SCHEMA

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "run", {"recipe": "plain", "loop": {"max_steps": 3}})


def no_constants(name: str) -> None:
    raise AssertionError(f"{name} in a record")


def test_what_is_written_is_read(run: Run) -> None:
    run.append(
        {
            "step": 0,
            "kl": 0.0,
            "gold": 1.25,
            "rewards": (1.0, 2.0),
            "cost": {"generated": 1, "scored": 5},
            "stats": {"a": 1},
        }
    )
    run.keep(
        [
            {
                "step": 0,
                "place": [3, 1],
                "prompt": "p",
                "completion": "a\nb\u2028c\ud800",
                "golds": [1.0],
            }
        ]
    )
    again = Run.open(run.folder)
    assert again.about == run.about
    assert again.readings() == [
        dict.fromkeys(READINGS.keys)
        | {
            "step": 0,
            "kl": 0.0,
            "gold": 1.25,
            "rewards": [1.0, 2.0],
            "cost": {"generated": 1, "scored": 5},
            "stats": {"a": 1},
        }
    ]
    assert again.samples() == [
        dict.fromkeys(COMPLETIONS.keys)
        | {
            "step": 0,
            "place": [3, 1],
            "prompt": "p",
            "completion": "a\nb\u2028c\ud800",
            "golds": [1.0],
        }
    ]


@given(value=json_values)
def test_every_line_is_strict_json_on_one_line(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("lines") / "x.jsonl"
    write_lines(path, [{"v": value}, {"v": 1}])
    text = path.read_text("utf-8")
    assert len(text.splitlines()) == 2
    assert json.loads(text.splitlines()[0], parse_constant=no_constants) == {"v": plain(value)}
    assert read_lines(path) == [{"v": plain(value)}, {"v": 1}]


def test_not_finite_is_null_and_not_zero(run: Run) -> None:
    run.append(
        {
            "step": 0,
            "gold": math.nan,
            "kl": math.inf,
            "rewards": [-math.inf, 0.0],
            "stats": {"x": math.nan},
        }
    )
    (r,) = run.readings()
    assert (r["gold"], r["kl"], r["rewards"], r["stats"], r["proxy"]) == (
        None,
        None,
        [None, 0.0],
        {"x": None},
        None,
    )


def test_keys_are_sorted_so_that_records_can_be_compared(run: Run) -> None:
    run.append({"step": 0, "gold": 1.0, "generated": 2})
    for name in ("run.json", "readings.jsonl"):
        found = json.loads((run.folder / name).read_text())
        assert list(found) == sorted(found)


def test_a_slip_of_the_writer_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="golld"):
        run.append({"step": 0, "golld": 1.0})
    with pytest.raises(ValueError, match="step None"):
        run.append({"gold": 1.0})
    with pytest.raises(TypeError, match=r"record\.stats\.x is a set"):
        run.append({"step": 0, "stats": {"x": {1}}})
    with pytest.raises(ValueError, match="state is 'over'"):
        run.finish({"state": "over"})
    with pytest.raises(ValueError, match="gold 'high' where a number was expected"):
        run.append({"step": 0, "gold": "high"})
    with pytest.raises(ValueError, match="no entry named bset_step"):
        run.note({"bset_step": 3})
    with pytest.raises(ValueError, match="best_step 1.5 where a whole number was expected"):
        run.note({"best_step": 1.5})
    assert run.readings() == []
    assert Run.open(run.folder).about["state"] == "running"


@pytest.mark.parametrize("name", ["readings.jsonl", "samples.jsonl"])
def test_a_torn_last_line_is_left_out_when_reading_and_cut_when_writing(
    run: Run, name: str
) -> None:
    path, write, read = (
        run.folder / name,
        run.append if "read" in name else lambda r: run.keep([r]),
        run.readings if "read" in name else run.samples,
    )
    write({"step": 0})
    write({"step": 1})
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[1]) + 1):
        torn = whole[:-cut]
        path.write_bytes(torn)
        assert [r["step"] for r in read()] == [0]
        assert path.read_bytes() == torn, "reading wrote"
        write({"step": 2})
        assert [r["step"] for r in read()] == [0, 2]
    path.write_bytes(whole[:5])
    write({"step": 3})
    assert [r["step"] for r in read()] == [3]


@pytest.mark.parametrize(
    "damage",
    [
        b'{"step": 1, "gold"',
        b"",
        b"\xff\xfe",
        b'{"step": 1, "gold": NaN}',
        b"[1]",
        b'{"step": "one"}',
        b'{"step": 1, "kl": "0.5"}',
        b'{"step": 1, "rewards": 0.5}',
        b'{"step": 1, "cost": {"generated": "one", "scored": 0}}',
    ],
)
def test_a_damaged_line_is_named(run: Run, damage: bytes) -> None:
    for step in range(3):
        run.append({"step": step})
    path = run.folder / "readings.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
    with pytest.raises(InputError, match=r"readings\.jsonl, line 2 .*line") as said:
        run.readings()
    assert "\n" not in str(said.value)
    with pytest.raises(InputError, match="line 2"):
        run.cut(0)


def test_cut_forgets_what_is_later_and_the_chosen_one(run: Run) -> None:
    for step in range(5):
        run.append({"step": step})
        run.keep([{"step": step, "completion": str(i)} for i in range(2)])
    run.append({"step": 1, "tag": "best"})
    before = (run.folder / "readings.jsonl").read_bytes().splitlines(keepends=True)
    run.cut(2)
    assert (run.folder / "readings.jsonl").read_bytes() == b"".join(before[:3]), (
        "what stays is not rewritten"
    )
    assert [r["step"] for r in run.samples()] == [0, 0, 1, 1, 2, 2]
    run.append({"step": 3})
    assert [r["step"] for r in run.readings()] == [0, 1, 2, 3]
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "readings.jsonl",
        "run.json",
        "samples.jsonl",
    ]


def test_a_run_is_never_overwritten(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="never overwritten.*--resume"):
        Run.create(run.folder, {})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="--resume"):
        Run.create(tmp_path / "file", {})
    (tmp_path / "empty").mkdir()
    assert Run.create(tmp_path / "empty", {}).readings() == []
    assert Run.open(run.folder).about["recipe"] == "plain"


def test_what_is_no_run_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run: it has no run\.json"):
        Run.open(tmp_path / "nowhere")
    about = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(about | {"schema": SCHEMA + 1, "assay": "9.9"}))
    with pytest.raises(InputError, match=r"schema 3 and this assay reads up to 2.*9\.9"):
        Run.open(run.folder)
    (run.folder / "run.json").write_text('{"schema": 1,')
    with pytest.raises(InputError, match=r"run\.json is damaged"):
        Run.open(run.folder)


def test_state_and_times(run: Run) -> None:
    assert (run.about["state"], run.about["finished"], run.about["schema"]) == (
        "running",
        None,
        SCHEMA,
    )
    run.finish({"state": "failed", "error": "a step is not finite"})
    about = Run.open(run.folder).about
    assert (
        about["state"] == "failed"
        and about["error"] == "a step is not finite"
        and about["finished"] >= about["started"]
    )


WRITER = """
import sys
from assay.records.runs import Run
run = Run.open(sys.argv[1])
step = 1 + max((r["step"] for r in run.readings()), default=-1)
run.cut(step - 1)
while True:
    run.keep([{"step": step, "completion": "y" * 500} for _ in range(5)])
    run.append({"step": step, "gold": step / 7, "stats": {"x" * 3000: 1.0}})
    run.note({"best_step": step})
    print(step, flush=True)
    step += 1
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_9_loses_nothing_that_was_said_to_be_written(run: Run) -> None:
    said = -1
    for wait in (0.0, 0.011, 0.023):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.1 + wait)
        child.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in child.stdout.read().split("\n") if line)])
        child.wait()
        child.stdout.close()
        steps = [r["step"] for r in Run.open(run.folder).readings()]
        assert steps == list(range(len(steps))) and len(steps) in (said + 1, said + 2)
        assert [r["gold"] for r in run.readings()] == [s / 7 for s in steps]
        assert Run.open(run.folder).about["best_step"] in (said, said + 1)
        full = [r["step"] for r in run.samples()]
        assert (
            full == [s for s in range(full[-1] + 1) for _ in range(5)][: len(full)]
            and full[-1] >= said
        )
    assert said > 3, "the writer was killed before it had written anything worth losing"
