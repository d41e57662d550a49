"""What files are: every dialect read to the same pairs, every format to the same rows."""

from __future__ import annotations

import csv
import gzip
import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import data
from assay.data.turns import Turn, prefix
from assay.errors import InputError

ROWS = [
    {"prompt": f"Question {i}?", "chosen": f"Good, answer {i}.", "rejected": f'Bad\nanswer "{i}"'}
    for i in range(3)
]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return path


def read(path: Path, **options: Any) -> list[data.Pair]:
    found = data.scan_file(path, keep=True, **options)
    found.faults.stop()
    return found.items


def triples(pairs: list[data.Pair]) -> list[tuple[str, str, str]]:
    return [(x.prompt, x.chosen, x.rejected) for x in pairs]


def saved(path: Path, rows: list[dict[str, Any]], form: str) -> Path:
    if form == "jsonl":
        return lines(path / "a.jsonl", rows)
    if form == "gz":
        (path / "a.jsonl.gz").write_bytes(
            gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode())
        )
        return path / "a.jsonl.gz"
    if form == "json":
        (path / "a.json").write_text(json.dumps(rows, indent=1))
        return path / "a.json"
    if form in ("csv", "tsv"):
        with open(path / f"a.{form}", "w", newline="") as f:
            w = csv.DictWriter(f, list(rows[0]), delimiter="," if form == "csv" else "\t")
            w.writeheader()
            w.writerows(rows)
        return path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path / "a.parquet")
        return path / "a.parquet"
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(rows)
    (datasets.DatasetDict({"train": made}) if form == "dict" else made).save_to_disk(
        str(path / "saved")
    )
    return path / "saved"


@pytest.mark.parametrize("form", ["jsonl", "gz", "json", "csv", "tsv", "parquet", "folder", "dict"])
def test_every_format_gives_the_same_pairs(tmp_path: Path, form: str) -> None:
    found = data.scan_file(saved(tmp_path, ROWS, form), keep=True)
    assert triples(found.items) == [(r["prompt"], r["chosen"], r["rejected"]) for r in ROWS]
    assert found.layout.kind == "pairs" and found.rows == 3 and not found.faults.errors


def test_a_dataset_with_splits_asks_which(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(InputError, match="several splits; choose one with --split: train, test"):
        data.scan_file(tmp_path / "saved")
    with pytest.raises(InputError, match="no split 'dev'"):
        data.scan_file(tmp_path / "saved", split="dev")
    assert data.scan_file(tmp_path / "saved", split="test").rows == 3


def test_an_implicit_prompt_is_the_shared_beginning(tmp_path: Path) -> None:
    a, b = (
        "\n\nHuman: Hi there\n\nAssistant: Hello!",
        "\n\nHuman: Hi there\n\nAssistant: Hello, go away.",
    )
    pair = read(lines(tmp_path / "a.jsonl", [{"chosen": a, "rejected": b}]))[0]
    assert (pair.prompt, pair.chosen, pair.rejected) == ("Hi there", "Hello!", "Hello, go away.")
    assert pair.turns == (Turn("user", "Hi there"),)
    plain = read(
        lines(
            tmp_path / "b.jsonl", [{"chosen": "The sky is blue.", "rejected": "The sky is black."}]
        )
    )[0]
    assert plain.prompt == "The sky is " and plain.chosen == "blue."


def test_a_transcript_with_a_prompt_column_and_several_turns(tmp_path: Path) -> None:
    ask = "\n\nHuman: One\n\nAssistant: Two\n\nHuman: Three\n\nAssistant:"
    pair = read(
        lines(tmp_path / "a.jsonl", [{"prompt": ask, "chosen": " yes", "rejected": " no"}])
    )[0]
    assert pair.turns == (Turn("user", "One"), Turn("assistant", "Two"), Turn("user", "Three"))
    assert (pair.chosen, pair.rejected) == ("yes", "no")
    assert pair.prompt == "Human: One\n\nAssistant: Two\n\nHuman: Three"


def test_messages_and_text_say_the_same(tmp_path: Path) -> None:
    ask, good, bad = (
        [{"role": r, "content": c}]
        for r, c, _ in (Turn("user", "Q"), Turn("assistant", "A"), Turn("assistant", "B"))
    )
    want = [("Q", "A", "B")]
    explicit = lines(tmp_path / "a.jsonl", [{"prompt": ask, "chosen": good, "rejected": bad}])
    implicit = lines(tmp_path / "b.jsonl", [{"chosen": ask + good, "rejected": ask + bad}])
    sharegpt = [[{"from": "human", "value": "Q"}, {"from": "gpt", "value": v}] for v in "AB"]
    other = lines(tmp_path / "c.jsonl", [{"chosen": sharegpt[0], "rejected": sharegpt[1]}])
    both = lines(
        tmp_path / "d.jsonl", [{"prompt": "Q", "chosen": ask + good, "rejected": ask + bad}]
    )
    assert [triples(read(p)) for p in (explicit, implicit, other, both)] == [want] * 4


def test_a_prompt_repeated_in_the_answers_is_cut(tmp_path: Path) -> None:
    found = data.scan_file(
        lines(
            tmp_path / "a.jsonl", [{"prompt": "Say: ", "chosen": "Say: yes", "rejected": "Say: no"}]
        ),
        keep=True,
    )
    assert (
        triples(found.items) == [("Say: ", "yes", "no")]
        and found.faults.warnings["prompt repeated"] == 1
    )


@pytest.mark.parametrize(
    ("row", "chosen", "p"),
    [
        ({"response_1": "a", "response_2": "b", "raters": [1, 1, 2]}, "a", 2 / 3),
        ({"response_1": "a", "response_2": "b", "raters": [2, 2, 2]}, "b", 1.0),
        ({"response_1": "a", "response_2": "b", "raters": [0, 0, 2]}, "b", 2 / 3),
        ({"response_1": "a", "response_2": "b", "raters": [1, 2]}, "a", 0.5),
        ({"response_0": "a", "response_1": "b", "better_response_id": 0}, "a", 1.0),
        ({"response_0": "a", "response_1": "b", "better_response_id": 1}, "b", 1.0),
        ({"output_1": "a", "output_2": "b", "preference": 2}, "b", 1.0),
        ({"response_a": "a", "response_b": "b", "winner": "model_b"}, "b", 1.0),
        ({"response_1": "a", "response_2": "b", "preference_strength": -2}, "a", 1.0),
        ({"response_1": "a", "response_2": "b", "winner": "tie"}, "a", 0.5),
    ],
)
def test_choices_in_their_dialects(
    tmp_path: Path, row: dict[str, Any], chosen: str, p: float
) -> None:
    pair = read(lines(tmp_path / "a.jsonl", [{"prompt": "q", **row}]))[0]
    assert (
        pair.chosen == chosen
        and pair.p == pytest.approx(p)
        and {pair.chosen, pair.rejected} == {"a", "b"}
    )


def test_a_verdict_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_1": "a", "response_2": "b", "winner": "neither of them"}
    found = data.scan_file(lines(tmp_path / "a.jsonl", [row]))
    assert (
        found.faults.shown[0].kind == "unknown verdict" and found.faults.shown[0].column == "winner"
    )


def test_a_label_below_half_turns_the_pair_and_its_margin(tmp_path: Path) -> None:
    pair = read(lines(tmp_path / "a.jsonl", [{**ROWS[0], "p": 0.2, "margin": 0.5}]))[0]
    assert (
        pair.chosen == ROWS[0]["rejected"] and pair.p == pytest.approx(0.8) and pair.margin == -0.5
    )


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "a", "response": "b", "p_win": 0.5, "source": "m"}, "scored"),
        ({"prompt": "a", "response": "b", "correct": True}, "scored"),
        ({"prompt": "a", "response": "b"}, "demonstrations"),
        (
            {"question": "a", "answer": "18"},
            "demonstrations",
        ),  # an answer that is a number is still the answer
        ({"messages": [{"role": "user", "content": "x"}]}, "demonstrations"),
        ({"text": "x"}, "demonstrations"),
        ({"prompt": "a"}, "prompts"),
        ({"instruction": "a"}, "prompts"),
    ],
)
def test_kinds(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    assert data.scan_file(lines(tmp_path / "a.jsonl", [row])).layout.kind == kind


def test_a_blank_response_is_counted_and_kept(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "response": r, "score": s} for r, s in (("", 0.0), ("yes", 1.0))]
    found = data.scan_file(lines(tmp_path / "a.jsonl", rows), keep=True)
    assert (
        [x.response for x in found.items] == ["", "yes"]
        and found.faults.warnings["empty response"] == 1
        and not found.faults.errors
    )


@given(st.text(max_size=30), st.text(max_size=20), st.text(max_size=20))
def test_the_shared_prefix_is_shared(begin: str, first: str, second: str) -> None:
    a, b = begin + first, begin + second
    n = prefix(a, b)
    assert a[:n] == b[:n] and 0 <= n <= min(len(a), len(b))


def test_many_rows_take_seconds(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with open(path, "w") as f:
        f.writelines(
            json.dumps({**ROWS[0], "prompt": f"Question {i}?"}) + "\n" for i in range(20_000)
        )
    began = time.process_time()
    assert data.scan_file(path).usable == 20_000
    assert (
        time.process_time() - began < 20
    )  # a second or two without these tests' own checks of types


@pytest.mark.parametrize(
    ("text", "kind", "prompts"),
    [
        ("Explain bees, please.\n\nWrite a poem; short.\n", "lines of text", [21, 20]),
        ("[Write] it, {now}\n{name}, hello\n", "lines of text", [17, 13]),
        ("prompt\nExplain bees, please.\n", "lines of text", [21]),
        ("One line | with, every; mark\n", "lines of text", [28]),
        ("prompt,note\nExplain bees.,first\n", "CSV", [13]),
        ("prompt,row-id\nExplain bees.,first\n", "CSV", [13]),
        ("prompt\tnote\nExplain bees.\tfirst\n", "TSV", [13]),
        ('{"prompt": "Explain bees."}\n', "JSON lines", [13]),
        ('[{"prompt": "Explain bees."}]\n', "JSON array", [13]),
    ],
)
def test_a_text_file_holds_a_prompt_a_line_if_it_is_no_table(
    tmp_path: Path, text: str, kind: str, prompts: list[int]
) -> None:
    packed = gzip.compress(text.encode(), mtime=0)
    for name, raw in {"a.txt": text.encode(), "a.txt.gz": packed}.items():
        (tmp_path / name).write_bytes(raw)
        found = data.scan_file(tmp_path / name)
        found.faults.stop()
        assert found.source.format.removesuffix(", gzipped") == kind
        assert found.layout.kind == "prompts"
        assert sorted(found.characters.elements()) == sorted(prompts)
