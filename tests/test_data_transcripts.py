"""Transcripts and rounds read alike in every kind of file; half characters are faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dialogue_rows import ENDS, A, B, U, lines, one, scan, turns

from assay.data.stream import stream
from assay.data.summary import check, says
from assay.errors import InputError

H = "\n\nHuman: Hi\n\nAssistant:"


@pytest.mark.parametrize("ask", [None, H, "\n\nHuman: Hi", "Hi", [U]])
@pytest.mark.parametrize("later", ["", "\n\nHuman: More?\n\nAssistant: Here"])
def test_transcripts_read_alike_in_pairs_scored_files_and_demonstrations(
    tmp_path: Path, ask: Any, later: str
) -> None:
    column = {} if ask is None else {"prompt": ask}
    pair = one(tmp_path, {**column, "chosen": f"{H} Yo{later}", "rejected": f"{H} No"})
    assert (turns(pair) or [("user", pair.prompt)]) == [("user", "Hi")] or ask is None
    said = [("assistant", "Yo"), ("user", "More?"), ("assistant", "Here")]
    if later:
        assert [(t.role, t.content) for t in pair.replies[0]] == said
    else:
        assert (pair.chosen, pair.rejected) == ("Yo", "No")
    if ask is None:
        demo = one(tmp_path, {"text": f"{H} Yo{later}"})
        assert [*turns(demo), ("assistant", demo.completion)] == (
            [("user", "Hi"), *said] if later else [("user", "Hi"), said[0]]
        )
        return
    scored = one(tmp_path, {**column, "response": f"{H} Yo{later}", "score": 1})
    demo = one(tmp_path, {**column, "response": f"{H} Yo{later}"})
    assert (scored.prompt, scored.response, scored.turns) == (
        demo.prompt,
        demo.response,
        demo.turns,
    )
    assert [c for _, c in turns(scored)] in (["Hi"], ["Hi", "Yo", "More?"])
    assert scored.response == ("Here" if later else "Yo")


def test_a_completion_goes_on_as_turns_only_after_a_transcript(tmp_path: Path) -> None:
    text = "Yo\n\nHuman: More?\n\nAssistant: Here"
    for ask, parts in ((H, 3), ("Hi", 1), ([U], 1)):
        pair = one(tmp_path, {"prompt": ask, "chosen": text, "rejected": "No"})
        scored = one(tmp_path, {"prompt": ask, "response": text, "score": 1})
        assert len(pair.replies[0]) == parts if parts > 1 else pair.chosen == text
        assert scored.response == pair.chosen
        assert scored.reply == (pair.replies[0] if pair.replies else None)


def test_transcripts_with_a_system_column(tmp_path: Path) -> None:
    pair = one(tmp_path, {"system": "s", "prompt": H, "chosen": " Yo", "rejected": " No"})
    assert turns(pair) == [("system", "s"), ("user", "Hi")] and pair.chosen == "Yo"


def test_what_a_response_repeats_of_the_prompt_stands_once(tmp_path: Path) -> None:
    for ask, said in (
        ([U, A], "Yo"),
        ([U, A], [U, A]),
        ([U], [U, A]),
        ("Hi ", [U, A]),
        ([U], A),
    ):
        item = one(tmp_path, {"prompt": ask, "response": said, "score": 1})
        assert (item.prompt, item.response) == ("Hi", "Yo")
    text = "Name one dish with rice."
    found = scan(tmp_path, {"prompt": text, "response": f"{text} Risotto."})
    assert (found.items[0].prompt, found.items[0].response) == (text, " Risotto.")
    assert found.faults.warnings == {"prompt repeated": 1}
    assert one(tmp_path, {"prompt": "I", "response": "I am"}).response == "I am"


HALF = "a\ud83cb"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": HALF, **ENDS},
        {"prompt": "q", "chosen": HALF, "rejected": "No"},
        {"prompt": [{"role": "user", "content": HALF}], **ENDS},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": HALF}]}], **ENDS},
        {"prompt": [U], "chosen": [{**A, "reasoning_content": HALF}], "rejected": [B]},
        {"prompt": [U], "chosen": [{**A, "tool_calls": [{"name": HALF}]}], "rejected": [B]},
        {"prompt": json.dumps([{"role": "user", "content": HALF}]), **ENDS},
        {"system": HALF, "prompt": "q", **ENDS},
        {"history": [["q", HALF]], "prompt": "q", **ENDS},
        {"instruction": "q", "input": HALF, **ENDS},
        {"tools": [{"name": HALF}], "prompt": "q", **ENDS},
        {"prompt": [HALF], "chosen": ["Yo"], "rejected": ["No"]},
        {"prompt": "q", "response": HALF, "score": 1},
        {"messages": [U, {**A, "content": HALF}]},
        {"text": HALF},
        {"prompt": HALF},
    ],
)
def test_half_a_character_is_a_fault_of_its_row_everywhere(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    found = scan(tmp_path, row)
    assert found.faults.errors["half a character"] >= 1 and found.usable == 0
    assert found.faults.shown[0].row == 1 and found.faults.shown[0].column in row
    assert scan(tmp_path, row, drop=True).faults.warnings["half a character"] >= 1


def test_half_a_character_in_a_name_that_is_not_read_can_be_printed(tmp_path: Path) -> None:
    row = {"prompt": [{**U, HALF: 1}], **ENDS, HALF: "x"}
    "\n".join(says(check(lines(tmp_path, row)))).encode("utf-8")


def test_rounds_in_lists_of_texts(tmp_path: Path) -> None:
    for write in (json.dumps, lambda x: x):
        row = {"prompt": write(["Hi", "More"]), "chosen": write(["Yo", "Here"])}
        pair = one(tmp_path, {**row, "rejected": write(["Yo", "There"]), "system": "s"})
        assert turns(pair) == [
            ("system", "s"),
            ("user", "Hi"),
            ("assistant", "Yo"),
            ("user", "More"),
        ]
        assert pair.chosen == "Here"
        empty = one(tmp_path, {**row, "rejected": write([None, "There"])})
        assert [t.content for t in empty.replies[1]] == ["", "More", "There"]
        short = scan(tmp_path, {**row, "rejected": write(["Yo"])})
        assert "1 rounds, where 'prompt' has 2" in short.faults.shown[0].found
        found = scan(tmp_path, {"prompt": write(["Hi"]), "response_a": write(["Yo"])})
        assert [x.prompt for x in found.items] == ["Hi"]


def test_a_file_of_pairs_without_a_prompt_column_is_no_file_of_prompts(tmp_path: Path) -> None:
    row = {"chosen": f"{H} Yo", "rejected": f"{H} No", "generations": ["Yo", "No"]}
    with pytest.raises(InputError, match="inside chosen and rejected; give it as --pairs"):
        list(stream(lines(tmp_path, row), "prompts"))
    with pytest.raises(InputError, match="no column 'prompt'; it has text"):
        list(stream(lines(tmp_path, {"text": f"{H} Yo"}), "prompts"))
