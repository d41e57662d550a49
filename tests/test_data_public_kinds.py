"""Public data sets of demonstrations, scores and prompts, and those that one sentence refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay import data
from assay.data.stream import stream
from assay.data.summary import check, says
from assay.errors import InputError
from assay.rewards.fit_labels import labels

ASK, GOOD = "How do I cook rice?", "Boil it for ten minutes."
USER = [("user", ASK)]
SYSTEM = [("system", "Answer like a cook."), *USER]
TALK = [{"role": "user", "content": ASK}, {"role": "assistant", "content": GOOD}]
FROM = [{"from": "user", "value": ASK}, {"from": "assistant", "value": GOOD}]


def saved(path: Path, row: dict[str, Any], form: str) -> Path:
    if form == "Parquet":
        pq.write_table(pa.Table.from_pylist([row]), path / "a.parquet")
        return path / "a.parquet"
    (path / "a.jsonl").write_text(json.dumps(row) + "\n")
    return path / "a.jsonl"


def turns(item: Any) -> list[tuple[str, str]]:
    return [(t.role, t.content) for t in item.turns or ()] or [("user", item.prompt)]


DEMONSTRATIONS: dict[str, tuple[dict[str, Any], Any, set[str]]] = {
    "TRL language modeling": ({"text": GOOD}, [("user", "")], set()),
    "TRL prompt-completion": ({"prompt": ASK, "completion": GOOD}, USER, set()),
    "TRL conversational": ({"prompt": TALK[:1], "completion": TALK[1:]}, USER, set()),
    "Alpaca": ({"instruction": "How do I", "input": "cook rice?", "output": GOOD}, None, set()),
    "Dolly": (
        {"instruction": "How do I", "context": "cook rice?", "response": GOOD, "category": "qa"},
        None,
        {"category"},
    ),
    "UltraChat": (
        {"prompt": ASK, "prompt_id": "p", "messages": TALK},
        USER,
        {"prompt", "prompt_id"},
    ),
    "OpenThoughts": ({"system": "Answer like a cook.", "conversations": FROM}, SYSTEM, set()),
    "Alpaca in CSV": ({"instruction": ASK, "input": "", "output": GOOD}, USER, set()),
}


@pytest.mark.parametrize("form", ["lines", "Parquet"])
@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_demonstrations_of_public_data_sets(tmp_path: Path, name: str, form: str) -> None:
    row, asked, unread = DEMONSTRATIONS[name]
    file = saved(tmp_path, row, form)
    found = data.scan_file(file, keep=True)
    found.faults.stop()
    demos = [x for x, _ in stream(file, "demonstrations")]
    [item] = found.items
    said = (
        item.response
        if found.layout.kind == "demonstrations" and "response" in found.layout.parts
        else item.completion
    )
    assert said == GOOD and demos[0].completion == GOOD and demos[0].turns == item.turns
    assert turns(item) == (asked or [("user", "How do I\ncook rice?")])
    assert set(found.faults.unread) == {f"column '{c}'" for c in unread}


def test_tools_and_calls_of_glaive_and_toolace(tmp_path: Path) -> None:
    call = {"from": "function_call", "value": '{"name": "rice", "arguments": {"n": 2}}'}
    talk = [FROM[0], call, {"from": "observation", "value": "10 minutes"}, FROM[1]]
    row = {"conversations": talk, "tools": '[{"name": "rice"}]', "system": "Answer like a cook."}
    [demo] = data.scan_file(saved(tmp_path, row, "lines"), keep=True).items
    assert turns(demo) == SYSTEM
    assert [t.role for t in demo.reply] == ["assistant", "tool", "assistant"]
    assert demo.turns[0].extras()["tools"] == [{"name": "rice"}]
    nested = [{**m, "tool_calls": None, "name": None} for m in TALK]
    nested.insert(1, {"role": "assistant", "content": None, "name": None})
    nested[1]["tool_calls"] = [{"type": "function", "function": {"name": "f", "arguments": "{}"}}]
    row = {"messages": nested, "tools_json": "[]"}
    for form in ("lines", "Parquet"):  # Parquet gives every message every key
        [demo] = data.scan_file(saved(tmp_path, row, form), keep=True).items
        assert demo.reply[0].extras()["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}
        assert demo.reply[1].more == ""


@pytest.mark.parametrize(
    ("row", "score", "unread"),
    [
        ({"prompt": ASK, "completion": GOOD, "label": True}, "label", {}),
        ({"prompt": TALK[:1], "completion": TALK[1:], "label": True}, "label", {}),
        (
            {"prompt": ASK, "response": GOOD, "helpfulness": 3, "verbosity": 1},
            "helpfulness",
            {"column 'verbosity'": 1},
        ),
    ],
)
def test_scores_of_public_data_sets(
    tmp_path: Path, row: dict[str, Any], score: str, unread: dict[str, int]
) -> None:
    found = data.scan_file(saved(tmp_path, row, "lines"), keep=True, score=score)
    [item] = found.items
    assert (turns(item), item.response, found.layout.kind) == (USER, GOOD, "scored")
    assert found.faults.unread == unread


@pytest.mark.parametrize(
    ("row", "extra"),
    [
        (
            {
                "data_source": "gsm8k",
                "prompt": TALK[:1],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": "10"},
                "extra_info": {"index": 0},
            },
            {"data_source", "ability", "reward_model", "extra_info"},
        ),
        ({"input": ASK, "label": "10"}, {"label"}),
        ({"context_messages": TALK[:1], "label": "10"}, {"label"}),
        ({"question": ASK, "answer": "10"}, {"answer"}),
        ({"problem": ASK, "solution": "10"}, {"solution"}),
        ({"prompt": ASK}, set()),
        ({"messages": TALK}, set()),
        ({"instruction": ASK, "completions": [{"response": GOOD}]}, {"completions"}),
    ],
)
def test_prompts_of_public_data_sets(
    tmp_path: Path, row: dict[str, Any], extra: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    columns = {"prompt": "context_messages"} if "context_messages" in row else {}
    for form in ("lines", "Parquet"):
        [(found, columns_too)] = stream(saved(tmp_path, row, form), "prompts", columns=columns)
        said = [t.content for t in found.turns or ()]
        assert found.prompt == ASK and said in ([], [ASK])
        assert set(columns_too) == extra
    for name in extra:
        assert f"column '{name}' (1)" in caplog.text
    assert not extra or "; reward functions get the columns" in caplog.text


SEVERAL = "one row holds several completions in"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "UltraFeedback": (
        {
            "instruction": ASK,
            "models": ["x"],
            "completions": [
                {"model": "x", "response": GOOD, "overall_score": 8.5, "critique": "c"}
            ],
        },
        f"{SEVERAL} 'completions', a list of objects with model, response, overall_score, "
        "critique; write one row for each, with the columns prompt, response ('response') and "
        "score ('overall_score')",
    ),
    "Nectar": (
        {"prompt": ASK, "answers": [{"answer": GOOD, "model": "x", "rank": 1.0}], "turns": 1},
        f"{SEVERAL} 'answers', a list of objects with answer, model, rank; write one row for each, "
        "with the columns prompt, response ('answer') and score, the negative of its rank, since 1 "
        "is the best",
    ),
    "Stack-Exchange preferences": (
        {"qid": 1, "question": ASK, "answers": [{"answer_id": 2, "pm_score": 3, "text": GOOD}]},
        f"{SEVERAL} 'answers', a list of objects with answer_id, pm_score, text; write one row for "
        "each, with the columns prompt, response ('text') and score ('pm_score')",
    ),
    "summarize_from_feedback": (
        {
            "info": {"id": "t3", "post": "A post.", "title": "T"},
            "summaries": [{"text": GOOD, "policy": "x"}, {"text": "B", "policy": "y"}],
            "choice": 0,
        },
        f"{SEVERAL} 'summaries', a list of objects with text, policy; write one row for each "
        "comparison, with the columns prompt, chosen (the 'text' that 'choice' numbers) and "
        "rejected (the other one)",
    ),
    "a list of texts": (
        {"prompt": ASK, "responses": [GOOD, "No."]},
        f"{SEVERAL} 'responses', a list of texts; write one row for each, with the columns prompt "
        "and response",
    ),
    "Glaive's text": (
        {"system": "SYSTEM: Be a cook.", "chat": f"USER: {ASK}\n\n\nASSISTANT: {GOOD}"},
        "'chat' holds a dialogue as one text with marks of its own ('USER: How do I cook ' …); "
        "write it as a list of {role, content} in a column 'messages'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nested_shapes_are_refused_with_what_to_write_instead(tmp_path: Path, name: str) -> None:
    row, sentence = REFUSED[name]
    for form in ("lines", "Parquet"):
        file = saved(tmp_path, row, form)
        with pytest.raises(InputError) as why:
            labels(file)
        assert str(why.value) == f"{file}: {sentence}"
        for want in ("pairs", "scored", "responses"):
            with pytest.raises(InputError) as why:
                data.scan_file(file, want=want)
            assert str(why.value) == f"{file}: {sentence}"
        if {"instruction", "prompt", "question"} & set(row):  # a file of prompts all the same
            assert sentence in "\n".join(says(check(file)))


def test_a_cell_of_webgpt_says_what_it_holds(tmp_path: Path) -> None:
    question = {"dataset": "eli5", "id": "q1", "full_text": ASK}
    row = {"question": question, "answer_0": GOOD, "answer_1": "No.", "preferred": "a"}
    found = data.scan_file(saved(tmp_path, row, "lines"))
    assert "an object with dataset, id, full_text where text or a list" in str(
        found.faults.shown[0]
    )
