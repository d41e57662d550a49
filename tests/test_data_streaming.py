"""Files larger than memory: rows go by one at a time, whatever the format, and what is told of the
whole is the same.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay import cli, data
from assay.data import arrays, hub
from assay.data.demos import Demo
from assay.data.stream import stream
from assay.data.turns import Turn
from assay.errors import InputError

ROWS = 15_000  # of 3.5 kB each
PEAK = """
import json, resource, sys
from assay import data
from assay.data.stream import stream
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
found = data.scan_file(sys.argv[1])
checked = peak() - before
rows = sum(1 for _ in stream(sys.argv[1], "pairs"))
print(json.dumps([found.rows, found.usable, rows, checked, peak() - before]))
"""


def row(i: int) -> dict[str, Any]:
    return {
        "prompt": f"question {i} " + "why " * 300,
        "chosen": f"because {i} " * 70,
        "rejected": "no " * 450,
        "source": "a",
    }


def written(path: Path, form: str, n: int) -> Path:
    file = path / f"big.{form}"
    if form == "parquet":
        schema = pa.schema([(k, pa.string()) for k in row(0)])
        with pq.ParquetWriter(file, schema) as out:
            for at in range(0, n, 10_000):
                out.write_table(
                    pa.Table.from_pylist([row(i) for i in range(at, min(n, at + 10_000))], schema)
                )
        return file
    with open(file, "w", newline="") as f:
        if form == "csv":
            table = csv.DictWriter(f, list(row(0)))
            table.writeheader()
            table.writerows(map(row, range(n)))
        else:
            f.write("[" if form == "json" else "")
            f.writelines(
                (",\n" if form == "json" and i else "")
                + json.dumps(row(i))
                + ("\n" if form == "jsonl" else "")
                for i in range(n)
            )
            f.write("]" if form == "json" else "")
    return file


@pytest.mark.parametrize("form", ["jsonl", "json", "csv", "parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    file = written(tmp_path, form, ROWS)
    said = subprocess.run(
        [sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, timeout=170
    )
    assert said.returncode == 0, said.stderr
    rows, usable, streamed, checked, after = json.loads(said.stdout)
    assert (rows, usable, streamed) == (ROWS, ROWS, ROWS)
    texts = (
        sum(len(v) for v in row(1234).values()) * ROWS / 2**20
    )  # MiB that a list of the rows would hold at least
    assert texts > 45 and checked < texts / 3 and after < texts / 3


TEXT = st.text(st.characters(codec="utf-8"), max_size=5)


@settings(max_examples=60)
@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.floats(allow_nan=False) | TEXT,
            lambda x: st.lists(x, max_size=3) | st.dictionaries(TEXT, x, max_size=3),
            max_leaves=5,
        ),
        max_size=6,
    ),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_an_array_in_pieces_is_the_array(values: list[Any], chunk: int, indent: int | None) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=chunk % 2 == 0)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(arrays, "_CHUNK", chunk)
        assert list(arrays.Elements(io.BytesIO(text.encode()))) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1},\n {"a": }]', "Expecting value: line 2 column 8"),
        ("{}", "Expecting '[': line 1"),
        ('[{"a": 1} {"b": 2}]', "Expecting ',' delimiter: line 1 column 11"),
        ("[1] x", "Extra data: line 1 column 5"),
        ("[1, 2", "Expecting ',' delimiter: line 1 column 6"),
        ('[{"a": "torn', "Unterminated string starting at: line 1 column 8"),
        ("[1,]", "Expecting value: line 1 column 4"),
    ],
)
@pytest.mark.parametrize("chunk", [3, 1000])
def test_a_damaged_array_says_where(
    text: str, said: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", chunk)
    with pytest.raises(ValueError) as caught:
        list(arrays.Elements(io.BytesIO(text.encode())))
    assert str(caught.value).startswith(said)


def test_a_damaged_beginning_is_not_sought_to_the_end_of_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "_CHUNK", 100)
    file = io.BytesIO(b'[{"a": oops}, ' + b"1, " * 10_000 + b"1]")
    with pytest.raises(ValueError, match="Expecting value: line 1 column 8"):
        list(arrays.Elements(file))
    assert file.tell() < 1000


def demos(tmp_path: Path, *rows: Any) -> list[Demo]:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return [d for d, _ in stream(tmp_path / "d.jsonl", "demonstrations")]


def test_demonstrations_in_their_dialects(tmp_path: Path) -> None:
    talk = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    said = demos(tmp_path, {"messages": talk})[0]
    assert (said.completion, said.turns, said.prompt) == (
        "a",
        (Turn("system", "s"), Turn("user", "q")),
        "System: s\n\nHuman: q",
    )
    assert demos(tmp_path, {"question": "q", "answer": "a"})[0] == Demo(1, "q", "a")
    assert demos(tmp_path, {"text": "\n\nHuman: q\n\nAssistant: a"})[0] == Demo(
        1, "q", "a", (Turn("user", "q"),)
    )
    assert demos(tmp_path, {"text": "once upon a time"})[0] == Demo(1, "", "once upon a time")
    with pytest.raises(
        InputError,
        match=r"d.jsonl, line 1, column 'messages': a conversation whose last turn is the user's",
    ):
        demos(tmp_path, {"messages": talk[:2]})
    with pytest.raises(InputError, match="line 2, column 'response': an empty completion"):
        demos(tmp_path, {"prompt": "q", "response": "a"}, {"prompt": "q", "response": " "})
    with pytest.raises(InputError, match="which do not make demonstrations"):
        demos(tmp_path, {"prompt": "q"})


def test_a_hub_name_is_streamed_and_its_subset_and_split_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = pytest.importorskip("datasets", reason="the hub extra is not installed")
    here, asked = written(tmp_path, "parquet", 30), []
    load = datasets.load_dataset

    def fetched(name: str, subset: str | None, *, split: str, streaming: bool) -> Any:
        asked.append((name, subset, split, streaming))
        return load(
            "parquet",
            data_files={split: str(here)},
            split=split,
            streaming=streaming,
            cache_dir=str(tmp_path / "cache"),
        )

    monkeypatch.setattr(datasets, "load_dataset", fetched)
    monkeypatch.setattr(hub, "unreachable", lambda: "")
    words = [
        "check",
        "some-owner/pairs-v1.5:main",
        "--split",
        "test",
        "--columns",
        "prompt=source",
        "chosen=chosen",
    ]
    assert cli.main(words) == 0
    assert asked == [("some-owner/pairs-v1.5", "main", "test", True)]
    assert "30 rows" in capsys.readouterr().out
    assert data.scan_file("some-owner/pairs").usable == 30 and asked[-1] == (
        "some-owner/pairs",
        None,
        "train",
        True,
    )
    with pytest.raises(InputError, match="does not exist"):
        data.scan_file("some-folder/pairs.jsonl")
