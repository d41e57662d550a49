"""Every dialect's right value: the prompt once, the whole completion, and what is not read."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from dialogue_rows import A, B, U, one, scan

from assay.data.stream import stream
from assay.data.summary import check, says
from assay.data.turns import Turn
from assay.errors import InputError

SYS = {"role": "system", "content": "Be brief."}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def prompt(item: Any) -> list[tuple[str, str]]:
    return [(t.role, t.content) for t in item.turns or (Turn("user", item.prompt),)]


def test_a_prompt_column_that_the_dialogue_repeats_stands_once(tmp_path: Path) -> None:
    ends = ([U, A], [U, B]), ([SYS, U, A], [SYS, U, B])
    for column in ("Hi", "Hi\n", "  Hi ", [U], [{"role": "User", "content": "Hi"}], [SYS, U]):
        for chosen, rejected in ends:
            item = one(tmp_path, {"prompt": column, "chosen": chosen, "rejected": rejected})
            system = SYS in chosen or (isinstance(column, list) and SYS in column)
            assert prompt(item) == [*([("system", "Be brief.")] * system), ("user", "Hi")]
            assert (item.chosen, item.rejected, item.replies) == ("Yo", "No", None)


def test_a_prompt_column_with_the_last_question_or_the_first_one(tmp_path: Path) -> None:
    begin = [user("First"), said("Ok"), user("Last")]
    for column in ("Last", "First", [user("First"), said("Ok")], begin, [said("Ok"), user("Last")]):
        item = one(tmp_path, {"prompt": column, "chosen": [*begin, A], "rejected": [*begin, B]})
        assert [text for _, text in prompt(item)] == ["First", "Ok", "Last"]
        assert (item.chosen, item.rejected) == ("Yo", "No")


def test_a_prompt_column_of_earlier_turns_is_followed_by_the_dialogue(tmp_path: Path) -> None:
    earlier = [user("First"), said("Ok")]
    row = {"prompt": earlier, "chosen": [user("Last"), A], "rejected": [user("Last"), B]}
    assert [text for _, text in prompt(one(tmp_path, row))] == ["First", "Ok", "Last"]


def test_a_prompt_column_that_says_something_else_names_the_row(tmp_path: Path) -> None:
    row = {"prompt": "Other", "chosen": [U, A], "rejected": [U, B]}
    with pytest.raises(InputError, match="line 1, .*does not go on from the prompt column"):
        scan(tmp_path, row).faults.stop()


@pytest.mark.parametrize("tail", [[], [user("And?")]])
@pytest.mark.parametrize("name", ["prompt", "messages", "conversations"])
def test_a_prompt_column_that_copies_a_completion_is_no_prompt(
    tmp_path: Path, tail: list[Any], name: str
) -> None:
    both = {"chosen": [U, A, *tail], "rejected": [U, B, *tail]}
    third = [U, said("Third")]
    for column in (*both.values(), [U, A], [U, B], [user("Hi "), said("Yo ")], third):
        found = scan(tmp_path, {name: column, **both})
        item = found.items[0]
        assert (prompt(item), item.chosen, item.rejected) == ([("user", "Hi")], "Yo", "No")
        left = f"turns of column '{name}' that answer its prompt"
        assert found.faults.unread[left] == (column is third)


def test_a_copy_with_system_and_tools_beside_it_leaves_both_in_the_prompt(tmp_path: Path) -> None:
    row = {"system": "Be brief.", "tools": '[{"name": "f"}]', "messages": [U, A]}
    item = one(tmp_path, {**row, "chosen": [U, A], "rejected": [U, B]})
    assert prompt(item) == [("system", "Be brief."), ("user", "Hi")]
    assert item.turns[0].extras() == {"tools": [{"name": "f"}]}


def test_dialogues_that_part_early_go_on_as_turns(tmp_path: Path) -> None:
    chosen = [U, A, user("More"), said("Here")]
    item = one(tmp_path, {"chosen": chosen, "rejected": [U, B]})
    assert prompt(item) == [("user", "Hi")]
    assert [t.content for t in item.replies[0]] == ["Yo", "More", "Here"]
    assert [t.content for t in item.replies[1]] == ["No"]


def test_one_dialogue_that_begins_the_other_keeps_a_turn_of_its_own(tmp_path: Path) -> None:
    item = one(tmp_path, {"chosen": [U, A], "rejected": [U, A, user("More"), B]})
    assert prompt(item) == [("user", "Hi")]
    assert [len(x) for x in item.replies] == [1, 3]


def test_turns_after_the_assistants_last_one_are_named_with_their_count(tmp_path: Path) -> None:
    row = {"chosen": [U, A, user("Bye")], "rejected": [U, B, user("Bye"), user("Bye")]}
    found = scan(tmp_path, row, {**row, "chosen": [U, A]})
    assert found.faults.unread == {"turns after the assistant's last one": 5}
    assert found.usable == 1 or found.items[0].chosen == "Yo"


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("tool_calls", [{"function": {"name": "f", "arguments": '{"x": 1}'}}], [{"name": "g"}]),
        ("reasoning_content", "think", "guess"),
        ("reasoning", "think", "guess"),
        ("thinking", "think", "guess"),
        ("name", "ann", "bob"),
        ("function_call", {"name": "f", "arguments": '{"x": 1}'}, {"name": "g", "arguments": "{}"}),
        ("function_call", '{"name": "f"}', '{"name": "g"}'),
    ],
)
def test_completions_that_differ_in_one_key_of_a_message_are_two(
    tmp_path: Path, key: str, good: Any, bad: Any
) -> None:
    for content in ("42", "", None):
        made = [[{"role": "assistant", "content": content, key: x}] for x in (good, bad)]
        found = scan(tmp_path, {"prompt": [U], "chosen": made[0], "rejected": made[1]})
        assert found.usable == 1 and not found.faults.unread, found.faults
        item = found.items[0]
        assert item.chosen != item.rejected and item.replies[0] != item.replies[1]
        demo = one(tmp_path, {"messages": [U, *made[0]]})
        assert (demo.completion, demo.reply) == (item.chosen, item.replies[0])
        assert "null" not in item.chosen


def test_a_function_call_beside_tool_calls_is_kept_too(tmp_path: Path) -> None:
    calls = {"tool_calls": [{"name": "f"}], "function_call": {"name": "g"}}
    demo = one(tmp_path, {"messages": [U, said("", **calls)]})
    names = [c["function"]["name"] for c in demo.reply[0].extras()["tool_calls"]]
    assert names == ["f", "g"]


def test_a_role_of_calls_as_sharegpt_writes_it_and_the_tools_reply(tmp_path: Path) -> None:
    call = {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'}
    talk = [{"from": "human", "value": "Hi"}, call, {"from": "observation", "value": "sun"}]
    demo = one(tmp_path, {"conversations": [*talk, {"from": "gpt", "value": "Sunny"}]})
    assert [t.role for t in demo.reply] == ["assistant", "tool", "assistant"]
    assert demo.reply[0].extras()["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    prose = {**call, "value": "I would call f."}
    assert one(tmp_path, {"conversations": [*talk[:1], prose]}).completion == "I would call f."


def test_several_calls_in_one_message_of_calls(tmp_path: Path) -> None:
    call = {"from": "function_call", "value": '[{"name": "f"}, {"name": "g"}]'}
    demo = one(tmp_path, {"conversations": [{"from": "human", "value": "Hi"}, call]})
    assert len(demo.reply[0].extras()["tool_calls"]) == 2


def test_calls_in_a_prompt_make_prompts_different(tmp_path: Path) -> None:
    rows = [
        {"prompt": [U, said("", tool_calls=[{"name": name}]), {"role": "tool", "content": "sun"}]}
        for name in ("f", "g")
    ]
    found = scan(tmp_path, *({**r, "chosen": [A], "rejected": [B]} for r in rows))
    assert found.plain()["prompts"] == 2
    assert [t.role for t in found.items[0].turns] == ["user", "assistant", "tool"]


def test_a_completion_of_several_turns_with_tools_is_one_completion(tmp_path: Path) -> None:
    calls = [said("", tool_calls=[{"name": "f"}]), {"role": "tool", "content": "sun"}]
    item = one(tmp_path, {"prompt": [U], "chosen": [*calls, A], "rejected": [B]})
    assert [t.role for t in item.replies[0]] == ["assistant", "tool", "assistant"]
    scored = one(tmp_path, {"prompt": [U], "response": [*calls, A], "score": 1})
    assert scored.reply == item.replies[0] and scored.response == item.chosen


def test_a_prompt_may_end_with_the_assistants_turn(tmp_path: Path) -> None:
    row = {"prompt": [U, said("Sure, ")], "chosen": "yes", "rejected": "no"}
    item = one(tmp_path, row)
    assert prompt(item) == [("user", "Hi"), ("assistant", "Sure, ")]
    assert (item.chosen, item.rejected) == ("yes", "no")
    assert one(tmp_path, {"prompt": [U, A], "chosen": "Yo", "rejected": "No"}).prompt == "Hi"


@pytest.mark.parametrize(
    "write", [json.dumps, repr, lambda x: "[" + "\n ".join(map(repr, x)) + "]"]
)
def test_messages_written_into_text_cells_are_read_and_said(tmp_path: Path, write: Any) -> None:
    row = {"prompt": write([SYS, U]), "chosen": write([A]), "rejected": write([B])}
    found = scan(tmp_path, row)
    item = found.items[0]
    assert (len(item.turns), item.chosen, item.rejected) == (2, "Yo", "No")
    assert found.faults.warnings == {"messages as text": 3}


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2, 3]",
        '{"from": "here", "value": 3}',
        '{"role": "admin", "content": "x"}',
        "[see the notes] 'role': who plays it?",
        '[{"role": "user"}]',
        "{'a': {'role': 'user'}}",
    ],
)
def test_text_that_only_looks_like_messages_stays_text(tmp_path: Path, text: str) -> None:
    item = one(tmp_path, {"prompt": text, "chosen": "a", "rejected": "b"})
    assert (item.prompt, item.turns) == (text, None)


def test_messages_in_text_that_are_cut_are_a_fault(tmp_path: Path) -> None:
    cut = json.dumps([U, A])[:-9]
    found = scan(tmp_path, {"prompt": cut, "chosen": "a", "rejected": "b"})
    assert found.faults.errors["wrong type"] == 1
    assert "cannot be read as one" in found.faults.shown[0].found


def test_objects_of_lists_single_messages_and_parts(tmp_path: Path) -> None:
    lists = {"role": ["user", "assistant"], "content": ["Hi", "Yo"], "name": None}
    assert one(tmp_path, {"messages": lists}).completion == "Yo"
    item = one(tmp_path, {"prompt": U, "chosen": A, "rejected": {"from": "gpt", "value": "No"}})
    assert (item.prompt, item.chosen, item.rejected) == ("Hi", "Yo", "No")
    parts = [{"type": "text", "text": "Hi"}, {"type": "image", "text": None}, {"type": "text"}]
    found = scan(tmp_path, {"prompt": [user(parts)], "chosen": [A], "rejected": [B]})
    assert found.items[0].prompt == "Hi"
    assert found.faults.unread == {"message part 'image'": 1, "message part 'text'": 1}
    assert one(tmp_path, {"messages": [user({"type": "text", "text": "Hi"}), A]}).prompt == "Hi"


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ([], "an empty list of messages"),
        ([{"role": "user"}], "message 1 has no content that is text"),
        ([U, "Yo"], "message 2 is a str, not an object"),
        ([{"content": "x"}], "message 1 has no role"),
        ({"full_text": "Hi", "id": 3}, "an object with full_text, id where text or"),
        ({"role": ["user"], "content": ["a", "b"]}, "lists of different lengths"),
        ([user([{"type": "image"}])], "message 1 has a content without text"),
        (7, "int where text or a list of messages"),
    ],
)
def test_a_cell_that_is_no_messages_says_why(tmp_path: Path, cell: Any, why: str) -> None:
    found = scan(tmp_path, {"prompt": cell, "chosen": "a", "rejected": "b"})
    assert why in found.faults.shown[0].found and found.usable == 0


def test_keys_of_messages_that_nothing_reads_are_counted(tmp_path: Path) -> None:
    row = {"messages": [{**U, "images": ["a.png"], "weight": 0}, {**A, "images": [], "weight": 1}]}
    assert scan(tmp_path, row).faults.unread == {
        "message key 'images'": 1,
        "message key 'weight'": 2,
    }


def test_every_verb_names_what_it_does_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"prompt": [{**U, "id": 1}], "chosen": "a", "rejected": "b", "note": "n", "empty": None}
    lines = says(check(_file(tmp_path, row)))
    assert "not read: column 'note' (1), message key 'id' (1)" in lines
    caplog.set_level(logging.WARNING, "assay")
    for kind in ("pairs", "prompts"):
        caplog.clear()
        list(stream(_file(tmp_path, row), kind))
        assert "column 'note' (1)" in caplog.text and "message key 'id' (1)" in caplog.text
        assert ("column 'chosen' (1)" in caplog.text) == (kind == "prompts")


def _file(path: Path, *rows: dict[str, Any]) -> Path:
    return scan(path, *rows).source.path or path
