"""The page of data formats: every row in its tables is read as the table says."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from assay import data
from assay.data.cells import Cell, joined_turns
from assay.data.messages import KEPT, turns_of
from assay.data.notices import notices
from assay.data.prompt_columns import DIALOGUE, HISTORY, INPUT, LAST, PROMPT, SYSTEM, TOOLS
from assay.data.stream import stream
from assay.data.summary import check, says
from assay.errors import InputError

PAGE = (Path(__file__).parents[1] / "docs/how-to/data-formats.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, as cells."""
    part = PAGE.split(f"# {heading}\n", 1)[1]
    lines = [line for line in re.split(r"\n#+ ", part)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines[2:]]


def bare(cell: str) -> str:
    return cell.strip("`").replace("⏎", "\n")


def file(path: Path, *rows: str) -> Path:
    (path / "pairs.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return path / "pairs.jsonl"


def shown(prompt: str, turns: Any) -> str:
    said = joined_turns(Cell(prompt, turns))
    return " · ".join(f"{t.role}: {t.content}" for t in said)


READ = [*table("Pairs"), *table("Demonstrations"), *table("Scores and prompts")]
ASKED = table("What is asked, and what is refused")


def test_the_tables_are_found() -> None:
    assert (len(READ), len(ASKED), len(table("What a message may be"))) == (24, 8, 7)


@pytest.mark.parametrize("row", READ, ids=lambda row: row[1])
def test_a_row_of_the_page_is_read_as_it_says(tmp_path: Path, row: list[str]) -> None:
    path = file(tmp_path, bare(row[0]))
    if not row[3]:
        [(asked, _)] = stream(path, "prompts")
        assert shown(asked.prompt, asked.turns) == bare(row[2])
        return
    [item] = data.scan_file(path, keep=True).items
    assert shown(item.prompt, item.turns) == bare(row[2])
    names = [n for n in ("chosen", "rejected", "response", "completion") if hasattr(item, n)]
    assert [getattr(item, n) for n in names] == [bare(x) for x in row[3].split(", ")]


@pytest.mark.parametrize("row", table("What a message may be"), ids=lambda row: row[1])
def test_a_message_of_the_page_is_read_as_it_says(row: list[str]) -> None:
    [turn] = turns_of(json.loads(bare(row[0])))
    said, _, more = row[2].partition(" with ")
    assert f"{turn.role}: {turn.content}".strip() == bare(said).strip()
    assert turn.more == bare(more)


@pytest.mark.parametrize("row", ASKED, ids=lambda row: row[1][:40])
def test_what_the_page_says_that_is_asked_is_asked(tmp_path: Path, row: list[str]) -> None:
    path = file(tmp_path, bare(row[0]))
    try:
        found = data.scan_file(path)
        told = "\n".join(map(str, (*found.faults.shown, *found.faults.warned)))
    except InputError as why:
        told = str(why)
    assert row[1] in told


def test_the_columns_of_the_page_are_those_that_are_found() -> None:
    parts = {row[0]: re.findall(r"`(\w+)`", row[1]) for row in table("Parts of a prompt")}
    assert parts["prompt"] == [*PROMPT, *DIALOGUE, *LAST]
    assert parts["system"] == list(SYSTEM) and parts["tools"] == list(TOOLS)
    assert parts["history"] == list(HISTORY) and parts["input"][:-1] == list(INPUT)
    keys = re.findall(
        r"`(\w+)`", PAGE.split("are handed to the chat template")[0].split("\n\n")[-1]
    )
    assert set(keys) == {*KEPT, "function_call"}


def test_the_lines_of_the_page_are_those_of_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"system": "s", "history": [["h", "r"]], "instruction": "q", "input": "i"}
    ends = {"chosen": "a", "rejected": "b"}
    file(tmp_path, json.dumps({**row, **ends}))
    assert says(check("pairs.jsonl"))[0] in PAGE.splitlines()
    prompt = [{"role": "user", "content": "q", "images": ["x"]}]
    rows = [{"prompt": p, "context": "c", "id": 1, **ends} for p in (prompt, "r")]
    found = data.scan_file(file(tmp_path, *map(json.dumps, rows)).name, tell=False)
    assert set(notices(found.layout, found.faults)) <= set(PAGE.splitlines())


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_table_may_have_any_of_these_marks_and_be_gzipped(
    tmp_path: Path, mark: str, packed: bool
) -> None:
    text = mark.join(("prompt", "chosen", "rejected")) + "\n" + mark.join(("q, x", "a", "b")) + "\n"
    text = text.replace("q, x", '"q, x"')
    path = tmp_path / ("a.csv.gz" if packed else "a.csv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    [item] = data.scan_file(path, keep=True).items
    assert (item.prompt, item.chosen, item.rejected) == ("q, x", "a", "b")
