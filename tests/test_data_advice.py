"""What is said of a file is true of the command that says it, and its advice helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay import cli, data
from assay.api.checking import check
from assay.data.label_lines import label_says
from assay.data.stream import stream
from assay.data.summary import says
from assay.errors import InputError
from assay.rewards.fit_file import fit


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pair(**more: Any) -> dict[str, Any]:
    return {"prompt": "the mill?", "chosen": "it is closed", "rejected": "no", **more}


def test_completions_that_begin_alike_are_shown_from_where_they_differ(tmp_path: Path) -> None:
    begin = "It was a bright cold day in April, and the clocks were striking "
    file = write(tmp_path / "a.jsonl", [pair(chosen=f"{begin}thirteen", rejected=f"{begin}one")])
    _, line = label_says(check(file)["label"])
    assert line == '  row 1: chosen "…striking thirteen", rejected "…striking one", p 1'


def test_a_part_that_the_user_leaves_out_is_not_advised_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [pair(system="s"), pair(system="t", prompt="the gate?")])
    found = check(file, columns={"system": ""})
    assert found["apart"] == [] and found["not_read"] == {"column 'system'": 2}
    other = check(write(tmp_path / "b.jsonl", [pair(context="the river rose")]))
    assert "join it with --columns input=context" in other["apart"][0]


def test_check_says_who_gets_the_columns_of_prompts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"prompt": "q", "ground_truth": "4"}])
    lines = says(check(file))
    assert "not read: column 'ground_truth' (1); reward functions get the columns" in lines
    assert "1 row, 1 usable, 1 prompt" in lines
    other = says(check(write(tmp_path / "b.jsonl", [pair(id=1)])))
    assert "not read: column 'id' (1)" in other


def test_reward_functions_are_named_only_where_there_are_rewards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "a.jsonl", [pair(id=1)])
    assert len(list(stream(file, "pairs", rewarded=False))) == 1
    assert "not read: column 'id' (1)" in caplog.text and "reward functions" not in caplog.text


def test_rows_that_drop_leaves_out_get_no_advice_to_drop_them(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [pair(), pair(prompt="b", chosen=None)])
    found = data.scan_file(file, drop=True, tell=False)
    [fault] = [f for f in found.faults.warned if f.kind == "null cell"]
    assert str(fault).endswith(": null; such rows are left out, because of --drop")
    assert not fault.error


def test_the_advice_for_a_file_that_score_cannot_read_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {"prompt": "q", "response_a": "yes", "response_b": "no", "winner": "model_a"}
    file = write(Path("arena.jsonl"), [row])
    fix = f"assay check {file} --fix PAIRS.jsonl"
    with pytest.raises(InputError, match=fix):
        data.scan_file(file, want="responses")
    assert cli.main(fix.split()[1:]) == 0
    assert data.scan_file("PAIRS.jsonl", want="pairs").usable == 1
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(InputError, match=r"inside 'messages'; write each into a column 'response'"):
        data.scan_file(write(Path("m.jsonl"), [{"messages": talk}]), want="responses")


def test_a_fit_without_an_evaluation_says_why(tmp_path: Path) -> None:
    rows = [pair(prompt=f"question {n}", p=0.5) for n in range(12)]
    found = fit(write(tmp_path / "ties.jsonl", rows), out=tmp_path / "reward", members=2)
    assert found["evaluation"] is None
    [note] = found["notes"]
    assert "prefer neither completion; give pairs with --held-out FILE" in note


def test_a_dialogue_that_answers_the_prompt_is_no_history_of_it(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    file = write(tmp_path / "a.jsonl", [{"prompt": "q", "conversation": talk}])
    found = check(file)
    assert "read its last reply with --columns messages=conversation, or" in found["apart"][0]
    assert check(file, columns={"messages": "conversation"})["kind"] == "demonstrations"
    joined = check(file, columns={"history": "conversation"})
    assert joined["errors"] == {"wrong type": 1} and joined["usable"] == 0
    assert "a history that ends with an answer to the prompt" in joined["faults"][0]["says"]


def test_a_prompt_that_was_said_before_stands_at_the_end_again(tmp_path: Path) -> None:
    said = [("user", "go on"), ("assistant", "a"), ("user", "and?"), ("assistant", "b")]
    talk = [{"role": role, "content": text} for role, text in said]
    file = write(tmp_path / "a.jsonl", [{"prompt": "go on", "history": talk}])
    [(asked, _)] = stream(file, "prompts")
    assert [(t.role, t.content) for t in asked.turns] == [*said, ("user", "go on")]


def test_two_rated_completions_without_a_verdict_say_what_to_write(tmp_path: Path) -> None:
    """The shape of WebGPT's comparisons: no column could be named as the verdict."""
    row = {"question": "q", "answer_0": "a", "answer_1": "b", "score_0": 1.0, "score_1": -1.0}
    with pytest.raises(InputError, match="if score_0 and score_1 rate them, write the better one"):
        check(write(tmp_path / "a.jsonl", [row]))
    other = {"question": "q", "answer_0": "a", "answer_1": "b", "model_0": "x", "model_1": "y"}
    with pytest.raises(InputError, match="name it with --columns verdict="):
        check(write(tmp_path / "b.jsonl", [other]))
