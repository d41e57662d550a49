"""A repaired copy has no fault, and all that it changes or leaves out is counted."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from repaired import ASKED, GOOD, HALF, counts, holds, rows_of, said, write

from assay.data.repair import repair
from assay.data.summary import check
from assay.errors import InputError


def test_every_kind_of_fault_is_left_out_and_counted_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [
        json.dumps(GOOD).encode(),
        json.dumps({**GOOD, "chosen": None}).encode(),
        b'{"prompt": "cut',
        b'{"prompt": "caf\xe9", "chosen": "a", "rejected": "b"}',
        json.dumps({**GOOD, "prompt": "x", "rejected": "4"}).encode(),
        json.dumps({**GOOD, "prompt": " "}).encode(),
        json.dumps(GOOD).encode(),
        json.dumps({**GOOD, "chosen": 7}).encode(),
        json.dumps({**GOOD, "chosen": "5", "rejected": "4"}).encode(),
        json.dumps({**GOOD, "prompt": "long " * 50}).encode(),
    ]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines) + b"\n")
    found = holds(path, limit=100)
    assert found["left_out"] == {
        "null cell": {"count": 1, "rows": [2]},
        "bad JSON": {"count": 1, "rows": [3]},
        "not UTF-8": {"count": 1, "rows": [4]},
        "chosen equals rejected": {"count": 1, "rows": [5]},
        "empty text": {"count": 1, "rows": [6]},
        "duplicated row": {"count": 1, "rows": [7]},
        "wrong type": {"count": 1, "rows": [8]},
        "longer than the limit": {"count": 1, "rows": [10]},
    }
    assert found["repaired"] == {"byte-order mark (removed)": {"count": 1, "rows": [1]}}
    assert found["kept"] == {"contradicted row": 1}
    assert (found["rows"], found["written"]) == (10, 2)
    assert rows_of(tmp_path / "out.jsonl")[0] == GOOD


def test_half_a_character_is_replaced_wherever_it_stands(tmp_path: Path) -> None:
    bad, as_text = "a \ud83d b", json.dumps([{"role": "assistant", "content": "x \ud83d"}])
    rows = [
        {**GOOD, "prompt": bad, "note": {bad: [bad]}},
        {"prompt": ASKED, "chosen": as_text, "rejected": said("y")},
    ]
    path = write(tmp_path / "half.jsonl", rows)
    assert check(path)["errors"] == {"half a character": 2}
    found = holds(path)
    assert found["repaired"][HALF] == {"count": 4, "rows": [1, 2]} and not found["left_out"]
    one, two = rows_of(tmp_path / "out.jsonl")
    assert one["prompt"] == "a \ufffd b" and one["note"] == {"a \ufffd b": ["a \ufffd b"]}
    assert two["chosen"] == said("x \ufffd")


def test_a_file_of_half_characters_alone_is_repaired(tmp_path: Path) -> None:
    found = holds(write(tmp_path / "half.jsonl", [{**GOOD, "prompt": "\udc00"}]))
    assert (found["written"], counts(found, "repaired")) == (1, {HALF: 1})


def test_pairs_without_a_shared_prompt_stay_as_they_are(tmp_path: Path) -> None:
    rows = [{"chosen": "The sun", "rejected": "The moon"}, {"chosen": "Yes", "rejected": "No"}]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert rows_of(tmp_path / "out.jsonl") == rows
    assert found["kept"] == {"no shared prompt": 1} and not found["changed"]


def test_what_no_reader_reads_is_counted_and_other_columns_are_kept(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": [{**ASKED[0], "images": ["a.png"]}],
            "chosen": [*said("a"), *ASKED],
            "rejected": "b",
            "rating": float("nan"),
            "history": None,
        }
    ]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert counts(found, "left_out") == {
        "message key 'images'": 1,
        "turns after the assistant's last one": 1,
    }
    assert "value that JSON cannot hold (now null or text)" in found["repaired"]
    assert rows_of(tmp_path / "out.jsonl")[0]["rating"] is None


def test_a_kept_column_that_would_be_read_gets_another_name(tmp_path: Path) -> None:
    rows = [{"ask": "real", "prompt": "old", "chosen": "a", "rejected": "b", "system": "S"}]
    found = holds(write(tmp_path / "in.jsonl", rows), columns={"prompt": "ask", "system": ""})
    assert found["renamed"] == {"prompt": "unread_prompt", "system": "unread_system"}
    assert rows_of(tmp_path / "out.jsonl") == [
        {
            "prompt": "real",
            "chosen": "a",
            "rejected": "b",
            "unread_prompt": "old",
            "unread_system": "S",
        }
    ]


def test_a_column_that_would_become_the_score_gets_another_name(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "output": "b", "rating": n} for n in (0, "x")]
    path = write(tmp_path / "in.jsonl", rows)
    assert check(path)["kind"] == "demonstrations"  # half of the ratings are numbers
    found = holds(path)
    assert counts(found, "left_out") == {"duplicated row": 1}  # and in the copy all are
    assert rows_of(tmp_path / "out.jsonl") == [
        {"prompt": "a", "completion": "b", "unread_rating": 0}
    ]


def test_formats_become_json_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt;chosen;rejected\na, b;c;d\n")
    found = holds(tmp_path / "a.csv")
    assert counts(found, "repaired") == {"CSV with semicolons (now JSON lines)": 1}
    table = pa.Table.from_pylist([{"prompt": ASKED, "chosen": said("a"), "rejected": said("b")}])
    pq.write_table(table, tmp_path / "a.parquet")
    assert "Parquet (now JSON lines)" in holds(tmp_path / "a.parquet")["repaired"]
    repair(tmp_path / "a.csv", tmp_path / "b.jsonl.gz")
    packed = gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes())
    assert packed == (b'{"prompt": "a, b", "chosen": "c", "rejected": "d"}\n')


def test_prompts_of_other_files_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", [GOOD, {**GOOD, "prompt": "b"}])
    other = write(tmp_path / "held_out.jsonl", [GOOD])
    found = holds(path, against=[other])
    assert found["left_out"] == {"prompt of another file": {"count": 1, "rows": [1]}}
    assert check(tmp_path / "out.jsonl", against=[other])["shared_prompts"] == {str(other): 0}


def test_a_score_keeps_its_own_name(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": "b", "score": 1, "help": 2}]
    found = holds(write(tmp_path / "in.jsonl", rows), score="help")
    assert rows_of(tmp_path / "out.jsonl")[0]["help"] == 2 and not found["changed"]


def test_label_maps_are_read_once(tmp_path: Path) -> None:
    rows = [
        {"prompt": p, "response_a": "x", "response_b": "y", "winner": w}
        for p, w in (("a", "left"), ("b", "right"), ("c", "equal"), ("d", "skipped"))
    ]
    path = write(tmp_path / "in.jsonl", rows)
    by = {"left": "first", "right": "second", "equal": "tie", "skipped": "drop"}
    found = holds(path, label_map=by)
    assert [(r["chosen"], r["p"]) for r in rows_of(tmp_path / "out.jsonl")] == [
        ("x", 1.0),
        ("y", 1.0),
        ("x", 0.5),
    ]
    assert counts(found, "left_out") == {"by --label-map": 1}
    rows = [{"prompt": "a", "response": r, "score": w} for r, w in (("b", "good"), ("c", "bad"))]
    holds(write(tmp_path / "words.jsonl", rows), label_map={"good": "2", "bad": "-1"})
    assert [r["score"] for r in rows_of(tmp_path / "out.jsonl")] == [2.0, -1.0]


def test_an_ambiguous_label_is_asked_for(tmp_path: Path) -> None:
    rows = [
        {"prompt": p, "response_a": "x", "response_b": "y", "label": n} for p, n in ("a0", "b1")
    ]
    path = write(tmp_path / "in.jsonl", [{**r, "label": int(r["label"])} for r in rows])
    with pytest.raises(InputError, match="--label-map"):
        repair(path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_ratings_that_contradict_a_pair_are_kept_and_said(tmp_path: Path) -> None:
    rows = [{**GOOD, "score_chosen": 1, "score_rejected": 2}]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert found["kept"] == {"rejected is rated higher": 1} and not found["changed"]


def test_nothing_is_written_over_or_in_part(tmp_path: Path) -> None:
    path, out = write(tmp_path / "in.jsonl", [GOOD]), tmp_path / "out.jsonl"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists and is never overwritten"):
        repair(path, out)
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match="both completions are the same text in all 1 rows"):
        repair(write(tmp_path / "same.jsonl", [{**GOOD, "chosen": "5"}]), tmp_path / "none.jsonl")
    with pytest.raises(InputError, match=r"nothing of it is left to write .1 × prompt of another"):
        repair(path, tmp_path / "none.jsonl", against=[path])
    half = gzip.compress(json.dumps(GOOD).encode() * 99)[:-9]
    (tmp_path / "cut.jsonl.gz").write_bytes(half)
    with pytest.raises(InputError):
        repair(tmp_path / "cut.jsonl.gz", tmp_path / "none.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "cut.jsonl.gz",
        "in.jsonl",
        "out.jsonl",
        "same.jsonl",
    ]


def test_a_kind_of_rows_names_its_first_rows_only(tmp_path: Path) -> None:
    rows = [GOOD, *itertools.repeat({**GOOD, "chosen": None}, 9)]
    found = holds(write(tmp_path / "in.jsonl", rows))
    assert found["left_out"]["null cell"] == {"count": 9, "rows": [2, 3, 4, 5, 6]}
