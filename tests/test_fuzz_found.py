"""What fuzzing found, each as a small input that shows it: a refusal, and never a traceback."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.api.rewards import load_reward
from assay.cli.watch import verdict_of
from assay.data import model_folder
from assay.data.faults import SHOWN, Faults
from assay.data.scan import scan_file
from assay.engine import checkpoint
from assay.errors import LONGEST, InputError
from assay.evidence import result_files
from assay.models.backbones import adapter_config
from assay.records.runs import Run
from assay.registry import entry
from assay.rewards.folder import describe
from assay.watch.ledger import read_sheet

DEEP = "[" * 100_000


def saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """A dataset as `datasets` saves it; returns its Arrow file."""
    table, file = pa.Table.from_pylist(rows), folder / "data.arrow"
    with pa.OSFile(str(file), "wb") as f, pa.ipc.new_stream(f, table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": file.name}]}))
    return file


def test_an_arrow_file_with_a_wrong_offset_is_refused_and_ends_no_process(tmp_path: Path) -> None:
    file = saved(tmp_path, [{"prompt": "a" * 99, "chosen": "b", "rejected": "c"}])
    data = file.read_bytes()
    head, offsets, body = data.rpartition(struct.pack("<ii", 0, 99))
    assert offsets and b"a" * 99 in body
    file.write_bytes(head + struct.pack("<ii", 0, 2**30) + body)
    with pytest.raises(InputError, match="cannot be read|not UTF-8"):
        scan_file(tmp_path)


@pytest.mark.parametrize("text", ["chosen", "zzz"])
def test_text_of_a_parquet_file_that_is_no_utf8_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.Table.from_pylist([{"prompt": "a", "chosen": "zzz", "rejected": "c"}])
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    path.write_bytes(path.read_bytes().replace(text.encode(), b"\xff" * len(text)))
    with pytest.raises(InputError, match="cannot be read|not UTF-8"):
        scan_file(path).faults.stop()


def test_a_checkpoint_whose_state_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for state in ('{"$d": [[]]}', DEEP, '{"$r": 3, "fields": []}', "7 8"):
        head = json.dumps({"__metadata__": {"state": state, "about": DEEP}}).encode()
        path.write_bytes(struct.pack("<Q", len(head)) + head)
        for read in (checkpoint.load, checkpoint.about):
            with pytest.raises(InputError, match="is damaged"):
                read(path)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "reward.json": ("is damaged", describe),
    "adapter_config.json": ("no readable", lambda folder: adapter_config.read(str(folder))),
    "result.json": ("is damaged", lambda folder: result_files.read(folder / "result.json")),
    "state.json": ("is damaged", scan_file),
    "dataset_dict.json": ("is damaged", scan_file),
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_nested_too_deeply_is_refused(name: str, tmp_path: Path) -> None:
    says, read = READERS[name]
    (tmp_path / name).write_text(DEEP)
    with pytest.raises(InputError, match=says):
        read(tmp_path)


def test_a_recipe_that_is_nested_too_deeply_is_at_fault(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"paper = {'(' * 5000}1{')' * 5000}\n")
    assert entry.read(tmp_path / "mine.py").fault


def test_the_header_and_the_index_of_weights_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", 5000) + b"[" * 5000)
    assert "no file of safetensors" in model_folder.fault(tmp_path)
    for shard in (["a"], "x" * 999, "a\0b", None):
        index = {"weight_map": {"a.weight": shard}}
        (tmp_path / "m.safetensors.index.json").write_text(json.dumps(index))
        assert "is not there" in model_folder.fault(tmp_path)


def test_a_damaged_verdict_of_a_later_watch_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    (run.folder / "watch.json").write_text("[")
    with pytest.raises(InputError, match="is damaged"):
        verdict_of(run)


def test_a_damaged_account_of_a_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("def f(prompts, completions):\n    return [0.0]\n")
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward" / "fit.json").write_text("[")
    with pytest.raises(InputError):
        load_reward(str(tmp_path / "reward"))


def test_a_sheet_of_labels_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    long = b"id,label\na," + b"x" * 200_000
    for data, says in ((b"\xff\xfei\0d\0", "UTF-8"), (long, "CSV|write a number")):
        path.write_bytes(data)
        with pytest.raises(InputError, match=says):
            read_sheet(path)


def test_the_first_fault_of_each_kind_is_kept_when_others_are_forgiven() -> None:
    faults = Faults("x.csv")
    for i in range(SHOWN + 5):
        faults.error("empty prompt", i, "prompt", "an empty prompt", "fill it in")
    faults.error("repeated column", 1, None, "a column appears twice", "rename it")
    assert len(faults.shown) == SHOWN
    faults.forgiven({"empty prompt"})
    with pytest.raises(InputError, match="a column appears twice"):
        faults.stop()


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b\n", "x" * 99_999])
def test_a_refusal_is_one_bounded_line_whatever_it_quotes(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({name: 1, "chosen": "a"}))
    with pytest.raises(InputError) as why:
        scan_file(tmp_path / "x.jsonl", want="pairs")
    said = str(why.value)
    assert len(said) <= LONGEST and said.splitlines() == [said]
    assert said.startswith(str(tmp_path)) and said.endswith(")")
