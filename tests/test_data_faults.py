"""Bad files: each fault with its file, row and column, in one sentence; counted, and capped in
print.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay import data
from assay.data.faults import SHOWN
from assay.data.stream import stream
from assay.errors import InputError

GOOD = {"prompt": "Say hello.", "chosen": "Hello, friend.", "rejected": "Bye."}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def lines(*rows: Any, name: str = "pairs.jsonl") -> Path:
        path = tmp_path / name
        path.write_text(
            "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows),
            encoding="utf-8",
        )
        return path

    return lines


def only(path: Path, **options: Any) -> data.Fault:
    """The one error of a file."""
    found = data.scan_file(path, **options)
    assert sum(found.faults.errors.values()) == 1, found.faults.errors
    return found.faults.shown[0]


@pytest.mark.parametrize(
    ("bad", "kind", "column", "word"),
    [
        ({**GOOD, "chosen": None}, "null cell", "chosen", "null"),
        ({**GOOD, "prompt": None}, "null cell", "prompt", "null"),
        ({"prompt": "p", "chosen": "a"}, "missing cell", "rejected", "no such column"),
        ({**GOOD, "rejected": 3}, "wrong type", "rejected", "int"),
        ({**GOOD, "rejected": ""}, "empty text", "rejected", "empty"),
        ({**GOOD, "chosen": " \n"}, "empty text", "chosen", "empty"),
        ({**GOOD, "prompt": ""}, "empty text", "prompt", "empty"),
        ({**GOOD, "chosen": [{"content": "hi"}], "rejected": []}, "wrong type", "chosen", "role"),
    ],
)
def test_a_bad_row_is_told_with_its_line_and_column(
    write: Write, bad: dict[str, Any], kind: str, column: str, word: str
) -> None:
    path = write(GOOD, GOOD | {"prompt": "Another."}, bad)
    found = data.scan_file(path)
    fault = found.faults.shown[0]
    assert (fault.kind, fault.row, fault.column) == (kind, 3, column)
    assert (
        word in str(fault)
        and f"{path}, line 3, column '{column}'" in str(fault)
        and "; " in str(fault)
    )
    assert found.usable == 2
    with pytest.raises(InputError, match=f"line 3, column '{column}'"):
        found.faults.stop()


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"often"'])
def test_a_margin_that_is_no_number(write: Write, value: str) -> None:
    path = write({**GOOD, "margin": 1.0}, json.dumps(GOOD)[:-1] + f', "margin": {value}}}')
    fault = only(path)
    assert fault.row == 2 and fault.column == "margin" and fault.kind == "not a finite number"


def test_a_score_that_is_no_number(write: Write) -> None:
    rows = [
        '{"prompt": "p", "response": "a", "score": 0.1}',
        '{"prompt": "p", "response": "b", "score": NaN}',
    ]
    fault = only(write(*rows))
    assert (fault.kind, fault.row, fault.column) == (
        "not a finite number",
        2,
        "score",
    ) and "nan" in str(fault)


def test_a_probability_beyond_one(write: Write) -> None:
    assert only(write({**GOOD, "p": 0.9}, {**GOOD, "p": 1.5})).kind == "out of range"


def test_a_missing_column_names_those_that_exist_and_the_nearest(write: Write) -> None:
    path = write({"prompt": "p", "chosen": "a", "rejectd": "b"})
    with pytest.raises(
        InputError,
        match=r"no column 'rejected'; it has prompt, chosen, rejectd; did you mean 'rejectd'\?",
    ):
        data.scan_file(path)
    found = data.scan_file(path, columns={"rejected": "rejectd"})
    assert found.layout.parts["rejected"] == "rejectd" and not found.faults.errors
    with pytest.raises(InputError, match="did you mean 'chosen'"):
        data.scan_file(path, columns={"chosen": "chosne"})
    with pytest.raises(InputError, match="no part 'choosen'; did you mean chosen"):
        data.scan_file(path, columns={"choosen": "chosen"})


def test_equal_answers_are_counted_and_all_equal_is_an_error(write: Write) -> None:
    same = {**GOOD, "rejected": GOOD["chosen"]}
    some = data.scan_file(write(GOOD, same, same))
    assert (
        some.faults.warnings["chosen equals rejected"] == 2
        and some.usable == 1
        and not some.faults.errors
    )
    every = data.scan_file(write(same, same, name="all.jsonl"))
    with pytest.raises(InputError, match="same text in all 2 rows"):
        every.faults.stop()


def test_too_long_is_counted_and_all_too_long_is_an_error(write: Write) -> None:
    long = {**GOOD, "chosen": "word " * 100}
    path = write(GOOD, long, GOOD | {"prompt": "Other."}, long | {"prompt": "More."})
    half = data.scan_file(path, limit=100)
    assert (
        half.faults.warnings["longer than the limit"] == 2
        and half.usable == 2
        and not half.faults.errors
    )
    with pytest.raises(
        InputError, match="all 4 usable rows are longer than the limit of 5 characters"
    ):
        data.scan_file(path, limit=5).faults.stop()


def test_duplicates_and_contradictions_are_counted(write: Write) -> None:
    turned = {"prompt": GOOD["prompt"], "chosen": GOOD["rejected"], "rejected": GOOD["chosen"]}
    found = data.scan_file(write(GOOD, GOOD, turned))
    assert found.faults.warnings == {"duplicated row": 1, "contradicted row": 1}


def test_prompts_in_two_splits_are_counted(write: Write) -> None:
    train = data.scan_file(write(GOOD, {**GOOD, "prompt": "b"}))
    test = data.scan_file(
        write({**GOOD, "prompt": "b"}, {**GOOD, "prompt": "c"}, name="test.jsonl")
    )
    assert data.leaks(test, train) == 1 and test.faults.warnings["prompt in both splits"] == 1


def test_a_bad_line_says_where(write: Write) -> None:
    fault = only(write(GOOD, '{"prompt": "p", "chosen": ', GOOD | {"prompt": "x"}))
    assert fault.row == 2 and fault.kind == "bad JSON" and "at character" in fault.found
    assert only(write(GOOD, "[1, 2]", name="list.jsonl")).found.startswith("a list where an object")


def test_every_error_is_counted_and_the_first_are_shown(write: Write) -> None:
    found = data.scan_file(write(GOOD, *[{**GOOD, "chosen": None}] * 50))
    assert found.faults.errors["null cell"] == 50 and len(found.faults.shown) == SHOWN
    with pytest.raises(InputError, match=r"line 2, .*\(50 errors in all: 50 × null cell"):
        found.faults.stop()
    dropped = data.scan_file(write(GOOD, *[{**GOOD, "chosen": None}] * 50), drop=True)
    assert (
        not dropped.faults.errors
        and dropped.faults.warnings["null cell"] == 50
        and dropped.usable == 1
    )
    dropped.faults.stop()


def test_dropping_everything_is_an_error(write: Write) -> None:
    with pytest.raises(InputError, match="none of its 2 rows can be used"):
        data.scan_file(
            write({**GOOD, "chosen": None}, {**GOOD, "chosen": None}), drop=True
        ).faults.stop()


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"", "a.jsonl", "is empty"),
        (b"  \n\n", "a.jsonl", "has only blank space"),
        (b'{"a": 1}', "a.jsonl.gz", "is named .gz but is not gzip"),
        (gzip.compress(b'{"prompt": 1}\n' * 999, mtime=0)[:30], "a.jsonl.gz", "damaged gzip"),
        ('{"prompt": "p"}'.encode("utf-16"), "a.jsonl", "UTF-16"),
        (b"\x00\x01\x02garbage", "a.bin", "has an unknown format"),
        (b"\x00\x01\x02garbage", "a.txt", "has an unknown format"),
        (b"prompt\n", "a.txt", "has no rows"),
        (b"PAR1garbage", "a.parquet", "cannot be read"),
        (b"[]", "a.json", "has no rows"),
        (b"prompt,chosen\n", "a.csv", "has no rows"),
        (b'[{"prompt": "p"}', "a.json", "array cannot be read"),
        (b'{"x": 1, "y": 2}\n', "a.jsonl", "make neither pairs"),
        (b"prompt,prompt\na,b\n", "a.csv", "appears twice"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, content: bytes, name: str, sentence: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        data.scan_file(path).faults.stop()
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}")
    with pytest.raises(InputError, match="does not exist; beside it there are pairs.jsonl"):
        data.scan_file(tmp_path / "pair.jsonl")
    with pytest.raises(InputError, match="without state.json"):
        data.scan_file(tmp_path)


def test_bytes_that_are_not_utf8_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b'\n{"prompt": "\xe9"}\n')
    found = data.scan_file(path)
    assert found.faults.warnings["byte-order mark"] == 1 and found.usable == 1
    assert (found.faults.shown[0].kind, found.faults.shown[0].row) == (
        "not UTF-8",
        2,
    ) and "0xe9" in str(found.faults.shown[0])


def test_ragged_and_broken_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,chosen,rejected\np,a,b\np,a\nq,"c\nd",e\n')
    fault = only(path)
    assert (fault.kind, fault.row) == ("ragged row", 3) and data.scan_file(path).usable == 2


def test_a_torn_gzip_keeps_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    import random

    draw = random.Random(0)
    rows = [
        {**GOOD, "prompt": str(draw.random()), "chosen": str(draw.random())} for _ in range(20_000)
    ]
    whole = gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode())
    path.write_bytes(whole[: len(whole) // 2])
    found = data.scan_file(path)
    assert found.faults.errors["damaged gzip"] == 1 and found.usable > 5000


def test_a_key_that_stands_twice_is_told_because_one_value_would_be_lost(write: Write) -> None:
    twice = '{"prompt": "p", "chosen": "lost", "rejected": "c", "chosen": "kept"}'
    deep = '{"messages": [{"role": "user", "content": "lost", "content": "kept"}]}'
    for row in (twice, deep):
        fault = only(write(GOOD, row))
        assert (fault.kind, fault.row) == ("repeated key", 2)
        assert "stands 2 times in one object" in fault.found
    array = write(f"[{json.dumps(GOOD)}, {twice}]", name="pairs.json")
    assert "the key 'chosen' stands 2 times" in only(array).found
    assert len(list(stream(write(GOOD, twice), "pairs", drop=True))) == 1


def test_a_huge_cell_that_nothing_reads_is_not_parsed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()
    monkeypatch.setattr("assay.data.cells.literal", seen.append)
    found = data.scan_file(write({**GOOD, "input": "[" + "1," * (1 << 20)}))
    assert not seen and found.faults.apart["input"] == 1
