"""Prompts joined from several columns, and what is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dialogue_rows import ENDS, A, B, U, lines, one, scan, turns

from assay.cli import main
from assay.data.stream import stream
from assay.data.summary import check, says
from assay.errors import InputError

WHOLE = [("system", "Be brief."), ("user", "q"), ("assistant", "a"), ("user", "Do it.\nNow.")]


@pytest.mark.parametrize(
    "history",
    [
        [["q", "a"]],
        '[["q", "a"]]',
        "[('q', 'a')]",
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        '[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]',
        [{"input": "q", "output": "a"}],
        "Human: q\n\nAssistant: a",
    ],
)
def test_a_history_in_any_form_stands_before_the_instruction(tmp_path: Path, history: Any) -> None:
    row = {"system": "Be brief.", "history": history, "instruction": "Do it.", "input": "Now."}
    assert turns(one(tmp_path, {**row, **ENDS})) == WHOLE
    assert turns(one(tmp_path, {**row, "output": "Yo"})) == WHOLE
    [(item, _)] = stream(lines(tmp_path, row), "prompts")
    assert [(t.role, t.content) for t in item.turns] == WHOLE


@pytest.mark.parametrize("empty", [[], "[]", None, ""])
def test_an_empty_history_or_list_of_tools_is_nothing(tmp_path: Path, empty: Any) -> None:
    item = one(tmp_path, {"history": empty, "tools": empty, "instruction": "Do it.", **ENDS})
    assert (item.prompt, item.turns) == ("Do it.", None)


@pytest.mark.parametrize("history", [[["q"]], [["q", 3]], "some words", '[["q", "a", "b"]]'])
def test_a_history_of_another_shape_is_a_fault(tmp_path: Path, history: Any) -> None:
    found = scan(tmp_path, {"history": history, "instruction": "Do it.", **ENDS})
    assert found.faults.errors == {"wrong type": 1} and found.faults.shown[0].column == "history"


def test_a_history_that_holds_the_instruction_does_not_double_it(tmp_path: Path) -> None:
    row = {"history": [["q", "a"], ["Do it.", ""]], "instruction": "x", **ENDS}
    del row["instruction"]
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, U]
    assert [c for _, c in turns(one(tmp_path, {"history": talk, "prompt": "Hi", **ENDS}))] == [
        "q",
        "a",
        "Hi",
    ]


def test_a_part_is_left_out_or_named_by_the_user(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "question": "q", "context": "c", **ENDS}
    found = scan(tmp_path, row, columns={"system": "", "input": "context"})
    assert (found.items[0].prompt, found.items[0].turns) == ("q\nc", None)
    assert found.faults.unread == {"column 'system'": 1}
    assert scan(tmp_path, row).items[0].prompt == "System: Be brief.\n\nHuman: q"
    unused = {"system"}
    list(stream(lines(tmp_path, row), "pairs", columns={"system": ""}, unused=unused))
    assert not unused


def test_the_command_line_leaves_a_part_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(lines(tmp_path, {"system": "s", "question": "q", **ENDS}))
    assert main(["check", file, "--columns", "system="]) == 0
    assert "not read: column 'system' (1)" in capsys.readouterr().out
    assert main(["check", file, "--columns", "prompt="]) != 0
    assert "system, history, input, tools can be left out so" in capsys.readouterr().err


def test_a_system_column_agrees_with_the_dialogue_or_is_a_fault(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief. "}, U]
    assert turns(one(tmp_path, {"system": "Be brief.", "prompt": talk, **ENDS}))[1:] == [
        ("user", "Hi")
    ]
    other = {"system": "Be long.", "prompt": talk, **ENDS}
    found = scan(tmp_path, other)
    assert found.faults.errors == {"two system turns": 1}
    assert "leave the column out with --columns system=" in found.faults.shown[0].cure
    assert scan(tmp_path, other, columns={"system": ""}).usable == 1
    inside = {"system": "Be long.", "prompt": "Hi", "chosen": [*talk, A], "rejected": [*talk, B]}
    assert scan(tmp_path, inside).faults.errors == {"other prompt": 1}


@pytest.mark.parametrize("tools", ['[{"name": "f"}]', [{"name": "f"}], "[{'name': 'f'}]"])
def test_tools_stand_on_the_first_turn(tmp_path: Path, tools: Any) -> None:
    for row in ({"prompt": "Hi", **ENDS}, {"prompt": [U], **ENDS}, {"messages": [U, A]}):
        item = one(tmp_path, {"tools": tools, **row})
        assert item.turns[0].extras() == {"tools": [{"name": "f"}]}
        assert item.prompt == 'Tools: [{"name": "f"}]\nHi'
    assert scan(tmp_path, {"tools": "f(x)", "prompt": "Hi", **ENDS}).faults.errors


def test_a_dialogue_that_is_a_demonstration_is_joined_as_a_prompt_is(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "history": [["q", "a"]], "conversations": [U, A]}
    item = one(tmp_path, row)
    assert turns(item) == [*WHOLE[:3], ("user", "Hi")] and item.completion == "Yo"
    [(asked, _)] = stream(lines(tmp_path, row), "prompts")
    assert (asked.prompt, asked.turns) == (item.prompt, item.turns)
    said = says(check(lines(tmp_path, row)))
    assert "dialogue = system + history + conversations" in said[0]


@pytest.mark.parametrize("more", [{"system": "s"}, {"history": [["q", "a"]]}, {}])
def test_a_third_completion_beside_joined_columns_is_named(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    row = {"messages": [U, {**A, "content": "Third"}], "chosen": [U, A], "rejected": [U, B], **more}
    found = scan(tmp_path, row)
    assert found.faults.unread == {"turns of column 'messages' that answer its prompt": 1}
    said = turns(found.items[0])
    assert said[-1] == ("user", "Hi") and len(said) == 1 + ("system" in more) + 2 * (
        "history" in more
    )


def test_an_answer_in_the_history_is_no_completion(tmp_path: Path) -> None:
    found = scan(tmp_path, {"history": [["q", "a"]], "messages": [U]})
    assert found.faults.errors == {"no completion": 1}


def test_check_says_what_the_prompt_is_joined_from(tmp_path: Path) -> None:
    row = {"instruction": "Do.", "input": "x", "history": [["q", "a"]], "system": "s", **ENDS}
    found = check(lines(tmp_path, row))
    assert "prompt = system + history + instruction + input, chosen, rejected" in says(found)[0]
    assert found["prompt"] == ["system", "history", "instruction", "input"]
    plain = check(lines(tmp_path, {"question": "q", **ENDS}))
    assert "prompt = question, chosen, rejected" in says(plain)[0]


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"prompt": "q", "context": "c", **ENDS}, "join it with --columns input=context"),
        ({"prompt": "q", "system": "a", "system_prompt": "b", **ENDS}, "'system' stands in its"),
        ({"messages": [U, A], "context": "c"}, "write it into 'messages' if it belongs there"),
    ],
)
def test_a_column_that_looks_like_a_part_of_the_prompt_is_told(
    tmp_path: Path, row: dict[str, Any], advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = lines(tmp_path, row, row)
    told = [line for line in says(check(file)) if "looks like a part of the prompt" in line]
    assert len(told) == 1 and advice in told[0] and "(2 rows)" in told[0]
    list(stream(file, "pairs" if "chosen" in row else "demonstrations"))
    assert told[0] in caplog.text
    if "input=" in advice:
        assert not check(file, columns={"input": "context"})["apart"]


def test_a_column_whose_text_stands_in_the_prompt_already_is_not_told(tmp_path: Path) -> None:
    for row in (
        {"prompt": "Hi", "question": "Hi", **ENDS},
        {"prompt": "Hi", "messages": [U, A], **ENDS},
        {"prompt": " Hi", "messages": [U, A]},
    ):
        found = check(lines(tmp_path, row))
        assert not found["apart"] and len(found["not_read"]) == 1


def test_a_prompt_beside_a_dialogue_is_asked_for(tmp_path: Path) -> None:
    row = {"instruction": "Do it.", "conversations": [U, A], **ENDS}
    with pytest.raises(InputError, match="--columns history=conversations") as asked:
        scan(tmp_path, row)
    assert "prompt=instruction" in str(asked.value) and "prompt=conversations" in str(asked.value)
    said = turns(one(tmp_path, row, columns={"history": "conversations"}))
    assert said == [("user", "Hi"), ("assistant", "Yo"), ("user", "Do it.")]
    assert one(tmp_path, row, columns={"prompt": "instruction"}).prompt == "Do it."
    talk = [{"role": "system", "content": "s"}, U]
    both = {"prompt": "Hi", "messages": talk, **ENDS}
    assert turns(one(tmp_path, both)) == [("system", "s"), ("user", "Hi")]


def test_a_context_that_the_dialogues_do_not_hold_is_not_dropped(tmp_path: Path) -> None:
    talk = [U, A, {"role": "user", "content": "Do it."}]
    row = {"instruction": talk, "context": "c", "chosen": [*talk, A], "rejected": [*talk, B]}
    assert scan(tmp_path, row).faults.errors == {"other prompt": 1}
    found = scan(tmp_path, row, columns={"input": ""})
    assert found.usable == 1 and found.faults.apart == {"context": 1}


def test_two_completions_of_a_row_are_asked_for(tmp_path: Path) -> None:
    row = {"problem": "2+2", "answer": "4", "messages": [U, A]}
    with pytest.raises(
        InputError, match="--columns messages=messages or --columns response=answer"
    ):
        scan(tmp_path, row)
    assert one(tmp_path, row, columns={"messages": "messages"}).completion == "Yo"
    assert one(tmp_path, row, columns={"response": "answer"}).response == "4"
    assert one(tmp_path, {**row, "answer": "Yo"}).response == "Yo"
