"""Labels of single completions: what TRL's and LLaMA-Factory's files say, and what does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.core import InputError
from assay.data.desirable import desirable, unlabelled
from assay.data.stream import stream

ROW = {"prompt": "q", "completion": "a", "label": True}


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def demos(path: str, **columns: str) -> list[Any]:
    return [item for item, _ in stream(path, "demonstrations", columns=columns)]


TALK = {
    "prompt": [{"role": "user", "content": "q"}],
    "completion": [{"role": "assistant", "content": "a"}],
}


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([{"prompt": "q", "completion": "a", "label": x} for x in (True, False)], [1, 0]),
        ([{"prompt": "q", "completion": "a", "label": x} for x in (1, 0)], [1, 0]),
        ([{"prompt": "q", "completion": "a", "label": x} for x in ("true", "False")], [1, 0]),
        ([{**TALK, "label": x} for x in (True, False)], [1, 0]),
        ([{"instruction": "q", "output": "a", "kto_tag": x} for x in (False, True)], [0, 1]),
        ([{**TALK, "label": x, "rating": 3, "score": 7.5} for x in (True, False)], [1, 0]),
    ],
)
def test_labels_are_read_as_trl_and_llama_factory_write_them(
    tmp_path: Path, rows: list[dict[str, Any]], labels: list[float]
) -> None:
    found = demos(lines(tmp_path / "kto.jsonl", rows))
    assert desirable(found) == labels
    assert unlabelled("kto.jsonl", found) == ""
    assert (found[0].prompt, found[0].completion) == ("q", "a") or found[0].turns


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([None, None], "has no column of labels"),
        (["good", "bad"], "has no column of labels"),
        ([True, True], "column 'label': true in every row, 2 in all"),
        ([0, 0], "column 'label': false in every row, 2 in all"),
        ([1, 0.5], "row 2, column 'label': 0.5 is no label; write true or 1"),
        ([1, -1], "row 2, column 'label': -1 is no label"),
    ],
)
def test_a_file_that_says_nothing_of_both_kinds_is_refused_by_name(
    tmp_path: Path, labels: list[Any], said: str
) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": x} for x in labels]
    if labels[0] is None:
        rows = [{"prompt": "q", "completion": "a"}] * 2
    found = demos(lines(tmp_path / "kto.jsonl", rows))
    told = unlabelled("kto.jsonl", found)
    assert told.startswith("kto.jsonl") and said in told and "; " in told


def test_a_row_without_its_label_is_a_fault_of_the_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "kto.jsonl", [ROW, {**ROW, "label": None}])
    with pytest.raises(InputError, match=r"line 2.*'label'"):
        demos(path)


def test_the_column_that_the_user_names_is_the_label(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": 3, "up": x} for x in (True, False)]
    assert desirable(demos(lines(tmp_path / "kto.jsonl", rows), score="up")) == [1, 0]
