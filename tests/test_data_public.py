"""The row shapes of public data sets, with contents of our own, in every format that holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay import data
from assay.data.stream import stream


def m(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def v(role: str, value: str) -> dict[str, Any]:
    return {"from": role, "value": value}


def part(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "image": None, "mimeType": None}]


ASK, GOOD, BAD = "How do I cook rice?", "Boil it for ten minutes.", "No idea."
TALK = [m("user", ASK), m("assistant", GOOD)], [m("user", ASK), m("assistant", BAD)]
BOTH = {"chosen": TALK[0], "rejected": TALK[1]}
TEXTS = {"chosen": GOOD, "rejected": BAD}
HH = "\n\nHuman: How do I cook rice?\n\nAssistant: "
USER = [("user", ASK)]
SYSTEM = [("system", "Answer like a cook."), *USER]
LONG = [m("user", "Hi"), m("assistant", "Hello"), m("user", ASK)]
LONGER = [("user", "Hi"), ("assistant", "Hello"), *USER]

# name: (row, columns, the prompt's turns, what is not read)
PAIRS: dict[str, tuple[dict[str, Any], dict[str, str], Any, set[str]]] = {
    "Anthropic HH-RLHF": ({"chosen": HH + GOOD, "rejected": HH + BAD}, {}, USER, set()),
    "SHP": (
        {
            "post_id": "a1",
            "domain": "cooking_train",
            "history": ASK,
            "c_root_id_A": "c1",
            "human_ref_A": GOOD,
            "human_ref_B": BAD,
            "labels": 1,
            "seconds_difference": 12.0,
        },
        {"verdict": "labels"},
        None,
        {"post_id", "domain", "c_root_id_A", "seconds_difference"},
    ),
    "UltraFeedback binarized": (
        {
            "prompt": ASK,
            "prompt_id": "f0",
            **BOTH,
            "messages": TALK[0],
            "score_chosen": 8.0,
            "score_rejected": 3.0,
        },
        {},
        USER,
        {"prompt_id", "messages", "score_chosen", "score_rejected"},
    ),
    "HelpSteer2 preferences": (
        {"prompt": ASK, "response_1": GOOD, "response_2": BAD, "preference_strength": -2},
        {},
        None,
        set(),
    ),
    "PKU-SafeRLHF": (
        {
            "prompt": ASK,
            "response_0": GOOD,
            "response_1": BAD,
            "is_response_0_safe": True,
            "better_response_id": 0,
            "safer_response_id": 1,
        },
        {},
        None,
        {"is_response_0_safe", "safer_response_id"},
    ),
    "Orca DPO pairs": (
        {"system": "Answer like a cook.", "question": ASK, **TEXTS},
        {},
        SYSTEM,
        set(),
    ),
    "distilabel-intel-orca": (
        {
            "system": "",
            "input": ASK,
            **TEXTS,
            "generations": [GOOD, BAD],
            "order": ["chosen", "rejected"],
            "rating": [9.0, 3.0],
            "status": "unchanged",
            "in_gsm8k_train": False,
        },
        {},
        None,
        {"generations", "order", "rating", "status", "in_gsm8k_train"},
    ),
    "Arena 55k": (
        {
            "id": 3,
            "model_a": "x",
            "model_b": "y",
            "prompt": json.dumps(["Hi", ASK]),
            "response_a": json.dumps(["Hello", GOOD]),
            "response_b": json.dumps(["Hello", BAD]),
            "winner": "model_a",
        },
        {},
        LONGER,
        {"id", "model_a", "model_b"},
    ),
    "Arena 140k": (
        {
            "id": "e1",
            "model_a": "x",
            "model_b": "y",
            "winner": "model_a",
            "conversation_a": [m("user", part(ASK)), m("assistant", part(GOOD))],
            "conversation_b": [m("user", part(ASK)), m("assistant", part(BAD))],
            "full_conversation": [{"user": m("user", part(ASK))}],
            "language": "en",
        },
        {},
        USER,
        {"id", "model_a", "model_b", "full_conversation", "language"},
    ),
    "MT-bench human judgments": (
        {
            "question_id": 81,
            "model_a": "x",
            "model_b": "y",
            "winner": "model_a",
            "judge": "author_0",
            "conversation_a": [*LONG, m("assistant", GOOD)],
            "conversation_b": [*LONG, m("assistant", BAD)],
            "turn": 1,
        },
        {},
        LONGER,
        {"question_id", "model_a", "model_b", "judge", "turn"},
    ),
    "Capybara DPO": (
        {
            "source": "s",
            "conversation": [{"input": "Hi", "output": "Hello"}, {"input": ASK, "output": GOOD}],
            "original_response": GOOD,
            "new_generations": [BAD],
            "prompt": ASK,
            "chosen": [*LONG, m("assistant", GOOD)],
            "rejected": [*LONG, m("assistant", BAD)],
            "rating_chosen": 5,
        },
        {},
        LONGER,
        {"source", "original_response", "new_generations", "rating_chosen"},
    ),
    "dpo-mix-7k": (
        {"dataset": "d", **BOTH, "chosen_rating": 5.0, "rejected_rating": 2.0},
        {},
        USER,
        {"dataset", "chosen_rating", "rejected_rating"},
    ),
    "Skywork preferences": ({**BOTH, "source": "s"}, {}, USER, {"source"}),
    "Tulu 3 preferences": (
        {"id": "i", "prompt": ASK, **BOTH, "source": "s"},
        {},
        USER,
        {"id", "source"},
    ),
    "AlpacaEval annotations": (
        {
            "dataset": "koala",
            "instruction": ASK,
            "output_1": GOOD,
            "output_2": BAD,
            "preference": 1,
            "annotator": "ann",
        },
        {},
        None,
        {"dataset", "annotator"},
    ),
    "LLaMA-Factory alpaca": (
        {
            "system": "Answer like a cook.",
            "history": [["Hi", "Hello"]],
            "instruction": "How do I",
            "input": "cook rice?",
            **TEXTS,
        },
        {},
        [SYSTEM[0], *LONGER[:2], ("user", "How do I\ncook rice?")],
        set(),
    ),
    "LLaMA-Factory sharegpt": (
        {
            "conversations": [v("human", ASK)],
            "chosen": v("gpt", GOOD),
            "rejected": v("gpt", BAD),
            "system": "Answer like a cook.",
            "images": ["a.png"],
        },
        {},
        SYSTEM,
        {"images"},
    ),
    "Axolotl chat_template": (
        {"messages": LONG, "chosen": TALK[0][1], "rejected": TALK[1][1]},
        {},
        LONGER,
        set(),
    ),
    "TRL standard": ({"prompt": ASK, **TEXTS}, {}, None, set()),
    "TRL conversational": (
        {"prompt": [m("user", ASK)], "chosen": TALK[0][1:], "rejected": TALK[1][1:]},
        {},
        USER,
        set(),
    ),
    "Argilla text classification of preferences": (
        {"instruction": ASK, "chosen_response": GOOD, "rejected_response": BAD},
        {"chosen": "chosen_response", "rejected": "rejected_response"},
        None,
        set(),
    ),
}


def saved(path: Path, rows: list[dict[str, Any]], form: str) -> Path:
    if form == "lines":
        (path / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return path / "a.jsonl"
    if form == "Parquet":
        pq.write_table(pa.Table.from_pylist(rows), path / "a.parquet")
        return path / "a.parquet"
    if form == "CSV":  # as pandas prints lists
        pytest.importorskip("pandas").DataFrame(rows).to_csv(path / "a.csv", index=False)
        return path / "a.csv"
    if form == "CSV of arrays":  # as pandas prints the arrays that it reads from Parquet
        pandas = pytest.importorskip("pandas")
        pq.write_table(pa.Table.from_pylist(rows), path / "a.parquet")
        pandas.read_parquet(path / "a.parquet").to_csv(path / "a.csv", index=False)
        return path / "a.csv"
    pytest.importorskip("datasets").Dataset.from_list(rows).save_to_disk(str(path / "saved"))
    return path / "saved"


def turns(item: Any) -> list[tuple[str, str]] | None:
    return None if item.turns is None else [(t.role, t.content) for t in item.turns]


@pytest.mark.parametrize("form", ["lines", "Parquet", "folder", "CSV", "CSV of arrays"])
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_public_data_sets(tmp_path: Path, name: str, form: str) -> None:
    row, columns, asked, unread = PAIRS[name]
    nested = isinstance(row.get("conversation_a", [{}])[0].get("content"), list)
    if form == "CSV of arrays" and (nested or ("history" in row and "input" in row)):
        pytest.skip("NumPy prints arrays in arrays as no language reads them")
    file = saved(tmp_path, [row], form)
    found = data.scan_file(file, columns=columns, keep=True)
    found.faults.stop()
    [pair] = found.items
    assert (turns(pair), pair.chosen.strip(), pair.rejected.strip()) == (asked, GOOD, BAD)
    if asked is None:
        assert pair.prompt == ASK
    assert (pair.p, pair.replies) == (1.0, None)
    left = {c for c in found.faults.unread if "column" in c}
    if name == "Capybara DPO":  # one of two columns that say the same
        left ^= {"column 'conversation'"} if "CSV" in form else {"column 'prompt'"}
    assert {f"column '{c}'" for c in unread} == left
    assert not found.faults.apart
    assert [x for x, _ in stream(file, "pairs", columns=columns)] == found.items
