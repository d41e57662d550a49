"""Questions as a sheet and back: blinded, harmless to a spreadsheet and a terminal, and every fault
named by line and column.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from assay import cli
from assay.errors import InputError
from assay.records.runs import read_lines, write_lines
from assay.watch.labelers import sheet
from assay.watch.labelers.questions import Question, current_labels

ODD = [
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\x1b[2J",
    'a,b\n"c"',
    "\ud800",
    " =1",
    "＝1",
    "<script>",
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    asked = [
        Question("watch people", 5, (i, 0), f"prompt {i}", text, f"other {i}")
        for i, text in enumerate(ODD)
    ]
    write_lines(tmp_path / "questions.jsonl", [q.line() for q in asked])
    return tmp_path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as f:
        return list(csv.DictReader(f))


def fill(path: Path, better: dict[int, str], extra: str = "") -> Path:
    """The sheet as a spreadsheet would save it, some rows filled in by their place."""
    found = rows(path)
    with path.open("w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, found[0].keys())
        out.writeheader()
        out.writerows({**r, "better": better.get(i, "")} for i, r in enumerate(found))
        f.write(extra)
    return path


def test_a_sheet_is_harmless_and_says_nothing_of_whose_answer_is_whose(
    run: Path, tmp_path: Path
) -> None:
    assert sheet.export(run, tmp_path / "s.csv", twice=0.0) == len(ODD)
    found = rows(tmp_path / "s.csv")
    assert tuple(found[0]) == ("id", "prompt", "first", "second", "better")
    assert all(
        (c.lstrip()[:1] not in ("=", "+", "-", "@", "＝") or re.fullmatch(r"-[0-9.]+", c))
        and "\x1b" not in c
        for r in found
        for c in r.values()
    )
    assert (
        [r["id"] for r in found]
        == sorted(r["id"] for r in found)
        != [q["id"] for q in read_lines(run / "questions.jsonl")]
    )
    assert any(r["first"] == 'a,b\n"c"' for r in found)


def test_labels_come_back_at_once_and_only_once(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    sheet.export(run, path, twice=0.0)
    fill(path, {0: "1", 1: " second ", 2: "=", 3: "Tie"})
    found = sheet.load(run, path, by="ann")
    assert (found["read"], found["new"], found["known"], found["waiting"]) == (
        4,
        4,
        0,
        len(ODD) - 4,
    )
    said = {r["id"]: r for r in read_lines(run / "labels.jsonl")}
    assert [said[r["id"]]["label"] for r in rows(path)[:4]] == [1.0, 0.0, 0.5, 0.5]
    assert {r["by"] for r in said.values()} == {"ann"} and {
        tuple(r["place"])[1] for r in said.values()
    } == {0}
    again = sheet.load(run, path)
    assert (again["new"], again["known"]) == (0, 4) and len(read_lines(run / "labels.jsonl")) == 4
    assert again["agreement"]["agree"] == 1.0
    with pytest.raises(InputError, match=r"s.csv exists, and somebody may have written in it"):
        sheet.export(run, path)
    assert sheet.export(run, tmp_path / "rest.csv", twice=0.0) == len(ODD) - 4


def test_pairs_asked_twice_measure_the_person(run: Path, tmp_path: Path) -> None:
    """Twice of everything, the other way round: a person who always says the first contradicts
    herself every time.
    """
    path = tmp_path / "s.csv"
    assert sheet.export(run, path, twice=1.0) == 2 * len(ODD)
    fill(path, dict.fromkeys(range(2 * len(ODD)), "1"))
    found = sheet.load(run, path)["agreement"]
    assert (
        found["pairs"] == len(ODD)
        and found["agree"] == 0.0
        and found["flip"] == pytest.approx(0.49)
    )
    assert len(
        [r for r in read_lines(run / "labels.jsonl") if not r["id"].endswith("-again")]
    ) == len(ODD)


def test_a_second_person_s_sheet_is_agreement_and_changes_nothing(
    run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.csv"
    sheet.export(run, path, twice=0.0)
    sheet.load(run, fill(path, {i: "12"[i % 2] for i in range(10)}))
    before = (run / "labels.jsonl").read_bytes()
    found = sheet.load(
        run, fill(path, {i: "12"[i % 2] if i < 8 else "21"[i % 2] for i in range(10)}), by="bob"
    )
    assert found["known"] == 10 and found["agreement"]["agree"] == pytest.approx(0.8)
    assert (
        found["agreement"]["kappa"] == pytest.approx(0.6)
        and (run / "labels.jsonl").read_bytes() == before
    )


def test_a_corrected_sheet_replaces_its_labels_until_a_verdict_has_used_them(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.csv"
    sheet.export(run, path, twice=0.0)
    sheet.load(run, fill(path, {0: "1", 1: "1"}))
    same = sheet.load(run, path)
    assert (same["new"], same["corrected"], same["known"]) == (0, 0, 2)
    assert same["agreement"]["pairs"] == 0, "a person's own sheet is no second opinion"
    found = sheet.load(run, fill(path, {0: "1", 1: "2", 2: "="}))
    assert (found["new"], found["corrected"], found["used"], found["known"]) == (1, 1, 0, 1)
    second = rows(path)[1]["id"]
    assert current_labels(read_lines(run / "labels.jsonl"))[second]["label"] == 0.0
    write_lines(run / "readings.jsonl", [{"step": 5, "watch": {"word": "go_on"}}])
    capsys.readouterr()
    assert cli.main(["watch", "import", str(run), str(fill(path, {0: "2", 1: "2"}))]) == 3
    assert capsys.readouterr().out.startswith(
        "0 new labels of 2 read, 1 were labeled before and stay, 1 differ from the sheet's earlier"
    )
    first = rows(path)[0]["id"]
    assert current_labels(read_lines(run / "labels.jsonl"))[first]["label"] == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "id,better\nnobody,1\n",
            "line 2, column 'id' holds 'nobody', which is no question of this run",
        ),
        (
            "id,better\n{id},maybe\n",
            "line 2, column 'better' holds 'maybe'; write 1 or first, 2 or second, = or tie",
        ),
        ("id,best\n{id},1\n", "has no column 'better'"),
        ("name,better\nx,1\n", "has no column 'id'"),
        ("", "its columns are none"),
        (
            "id,better\n{id},1\n{id},2\n",
            "line 3, column 'id' holds .* a second time, with another answer",
        ),
        ('id,better\n{id},"1\n', "is not CSV"),
        ("id,better\n{id},\x1b[2J\n", "holds '⟨U.001B⟩.2j'"),
    ],
)
def test_a_fault_is_one_sentence_and_nothing_is_taken(
    text: str, said: str, run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.csv"
    path.write_text(
        text.replace("{id}", read_lines(run / "questions.jsonl")[0]["id"]), encoding="utf-8"
    )
    with pytest.raises(InputError, match=said):
        sheet.load(run, path)
    assert not (run / "labels.jsonl").exists()


def test_bytes_that_are_no_text_are_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"id,better\n\xff\xfe,1\n")
    with pytest.raises(InputError, match="is not UTF-8 text .byte 10"):
        sheet.load(run, tmp_path / "s.csv")


def test_columns_of_the_prompt_stand_beside_it_and_are_read_back_as_nothing(
    tmp_path: Path,
) -> None:
    asked = [
        Question(
            "watch people", 5, (0, 0), "p", "a", "b", {"row": 3, "=answer": "=1+1", "no": None}
        ),
        Question("watch people", 5, (1, 0), "q", "a", "b"),
    ]
    write_lines(tmp_path / "questions.jsonl", [q.line() for q in asked])
    sheet.export(tmp_path, tmp_path / "s.csv", twice=0.0)
    found = rows(tmp_path / "s.csv")
    assert list(found[0])[5:] == ["prompt: =answer"]
    assert sorted(r["prompt: =answer"] for r in found) == ["", "'=1+1"]
    assert sheet.load(tmp_path, fill(tmp_path / "s.csv", {0: "1", 1: "="}))["new"] == 2
