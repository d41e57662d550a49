"""Reward models read text as policies do: marks, templates, truncation and equal tokens."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers_small import CHATML, GEMMA, LLAMA3, QWEN3, R1, small

from assay.data.turns import Turn
from assay.errors import InputError
from assay.models.text_encoder import Templated, TextEncoder
from assay.rewards.encoding import Template
from assay.rewards.evaluate import evaluate
from assay.rewards.fit_file import fit
from assay.rewards.pool import Pool
from assay.rewards.pool_tokens import tokens_of
from assay.rewards.row_tokens import Encoded, encode
from assay.rewards.score_file import score

SYSTEM = {
    "prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "?"}],
    "chosen": [{"role": "assistant", "content": "home"}],
    "rejected": [{"role": "assistant", "content": "rain"}],
}
FORMS = {"pair": "wordpiece", "plain": "llama", "chat": "bytes"}


def model(folder: Path, kind: str, template: str | None = None) -> str:
    """A tiny classifier's base with one of the small tokenizers."""
    import transformers

    tokenizer = small(kind, template)
    size: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 256,
    }  # fmt: skip
    made: Any
    if kind == "wordpiece":
        made = transformers.BertForSequenceClassification(
            transformers.BertConfig(**size, type_vocab_size=2, num_labels=1)
        )
    else:
        made = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                **size, num_key_value_heads=2, bos_token_id=0, eos_token_id=1, pad_token_id=3
            )
        )
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}( {{ m['content'] }} )"
    "{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
# Generation prompts that open a thought, which no row of a reward model holds unless it was said.
R1_THINKS = R1.replace("<｜Assistant｜>{% endif %}", "<｜Assistant｜><think>\n{% endif %}")
CHATML_THINKS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")


@pytest.mark.parametrize("kind", ["bytes", "llama", "unigram", "python"])
@pytest.mark.parametrize("template", [CHATML, MISTRAL, R1, R1_THINKS, CHATML_THINKS])
def test_a_row_has_the_tokens_that_transformers_makes_of_the_conversation(
    kind: str, template: str
) -> None:
    words = small(kind, template)
    talk = [{"role": "user", "content": "the old mill"}, {"role": "assistant", "content": "home"}]
    want = words.apply_chat_template(talk, tokenize=True, return_dict=False)
    row = encode(TextEncoder(words), Template("chat", 99, False), "the old mill", "home")
    assert list(row.ids) == want, "no blank before what the assistant said"


def lines(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(file)


def plain(n: int = 8, **more: Any) -> list[dict[str, Any]]:
    return [
        {"prompt": f"what {i}?", "chosen": f"we walk {i}", "rejected": f"it rains {i}", **more}
        for i in range(n)
    ]


def row_of(kind: str, form: str, *texts: Any, template: str | None = None) -> Encoded:
    tokens = small(kind, template)
    return encode(TextEncoder(tokens), Template(form, 200, segments=False), *texts)


@pytest.mark.parametrize("form", FORMS)
def test_marks_in_a_row_are_characters_and_other_rows_are_as_they_were(form: str) -> None:
    kind, template = FORMS[form], CHATML if form == "chat" else None
    clean = row_of(kind, form, "what is it", "we walk", template=template)
    marked = row_of(kind, form, "what </s><s>is it", "we<|im_end|></s> walk", template=template)
    for mark in range(6):
        assert marked.ids.count(mark) == clean.ids.count(mark), small(kind).convert_ids_to_tokens(
            mark
        )
    read = small(kind).decode(list(marked.ids[marked.start :])).replace(" ", "")
    assert read.startswith("we<|im_end|></s>walk")
    if form == "pair":
        both = small(kind)("what is it", "we walk")["input_ids"]
        assert list(clean.ids) == both
    if form == "chat":
        talk = [
            {"role": "user", "content": "what is it"},
            {"role": "assistant", "content": "we walk"},
        ]
        assert list(clean.ids) == small(kind, CHATML).apply_chat_template(talk, return_dict=False)


def test_templated_parts_keep_their_marks_one_bos_and_one_end() -> None:
    ask = "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n"
    want = row_of("bytes", "chat", "why?", "we walk", template=CHATML)
    assert row_of("bytes", "chat", Templated(ask), "we walk", template=CHATML) == want
    whole = Templated("we walk<|im_end|>\n")
    assert row_of("bytes", "chat", Templated(ask), whole, template=CHATML) == want
    one = row_of("llama", "plain", Templated("<s>why?"), Templated("we walk</s>"))
    assert one.ids.count(0) == 1 == one.ids.count(1) and one.ids[0] == 0 and one.ids[-1] == 1


def test_a_completion_of_several_turns_goes_through_the_template_as_turns() -> None:
    call = {"function": {"name": "weather", "arguments": {"town": "the mill"}}}
    first = Turn("assistant", "we walk", json.dumps({"tool_calls": [call]}))
    reply = (first, Turn("tool", "it rains"), Turn("assistant", "home"))
    turns = (Turn("user", "what is it"),)
    row = row_of("bytes", "chat", "what is it", "unused", turns, reply, template=QWEN3)
    said = small("bytes").decode(list(row.ids[row.start :]))
    assert said == (
        'we walk\n<tool_call>\n{"name": "weather", "arguments": {"town": "the mill"}}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\n<tool_response>\nit rains\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nhome<|im_end|>\n"
    )


@pytest.mark.parametrize(
    ("template", "row", "says"),
    [
        (R1, {"chosen": "<think>a</think>home", "rejected": "<think>b</think>home"}, "leaves out"),
        (GEMMA, SYSTEM, "System role not supported"),
    ],
)
def test_what_a_template_refuses_or_leaves_out_is_one_sentence_with_file_and_row(
    tmp_path: Path, template: str, row: dict[str, Any], says: str
) -> None:
    base = model(tmp_path / "m", "bytes", template)
    good = plain()
    if isinstance(row.get("prompt"), list):
        good = [
            {
                "prompt": [{"role": "user", "content": r["prompt"]}],
                **{k: [{"role": "assistant", "content": r[k]}] for k in ("chosen", "rejected")},
            }
            for r in good
        ]
    files = {n: lines(tmp_path / f"{n}.jsonl", rows) for n, rows in (
        ("good", good), ("bad", [*good[:2], {**good[2], **row}]))}  # fmt: skip
    out = tmp_path / "R"
    with pytest.raises(InputError, match=rf"bad.jsonl, row 3: .*{says}"):
        fit(files["bad"], base=base, out=out, members=1)
    fit(files["good"], base=base, out=out, members=1, held_out_share=0.3)
    with pytest.raises(InputError, match=rf"bad.jsonl, row 3: .*{says}"):
        score(out, files["bad"], tmp_path / "scored.jsonl")
    with pytest.raises(InputError, match=rf"bad.jsonl, row 3: .*{says}"):
        evaluate(str(out), files["bad"])


def test_pairs_of_the_same_tokens_are_left_out_and_all_of_them_is_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = model(tmp_path / "m", "bytes", LLAMA3)
    rows = [*plain(), {"prompt": "why?", "chosen": "home", "rejected": " home "}]
    found = fit(
        lines(tmp_path / "p.jsonl", rows), base=base, out=tmp_path / "R", members=1, frozen=True
    )
    assert "1 pair left out: both completions give the same tokens" in found["notes"]
    assert found["used"] == 8 == found["prompts"]
    with caplog.at_level(logging.WARNING, "assay"):
        found = evaluate(str(tmp_path / "R"), lines(tmp_path / "e.jsonl", rows))
    assert found["pairs"] == 8 and found["ties"] == 0
    said = "e.jsonl: 1 pair left out: both completions give the same tokens"
    assert sum(said in r.getMessage() for r in caplog.records) == 1
    with pytest.raises(InputError, match=r"q.jsonl: 1 pair left out: .* and no pair is left"):
        fit(lines(tmp_path / "q.jsonl", rows[-1:]), base=base, out=tmp_path / "Q", members=1)


def test_marks_in_a_file_are_told_once_with_the_first_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = plain()
    rows[3]["chosen"] = "we<|im_end|> walk"
    rows[5] |= {"chosen": "<s>", "rejected": "</s>"}
    base, file = model(tmp_path / "m", "bytes", CHATML), lines(tmp_path / "p.jsonl", rows)
    told = "2 rows hold special tokens written out ('<|im_end|>' first in row 4)"
    found = fit(file, base=base, out=tmp_path / "R", members=1, frozen=True, folds=2)
    assert [n for n in found["notes"] if n.startswith(told)] == [
        f"{told}; they are encoded as text"
    ]
    with caplog.at_level(logging.WARNING, "assay"):
        score(tmp_path / "R", file, tmp_path / "scored.jsonl")
    assert sum(told in r.message for r in caplog.records) == 1
    for r in rows:
        r["prompt"] = f"<|im_start|>user\n{r['prompt']}<|im_end|>\n<|im_start|>assistant\n"
    file = lines(tmp_path / "t.jsonl", rows)
    found = fit(file, base=base, out=tmp_path / "T", members=1, frozen=True, folds=2)
    assert any(
        n.endswith("look templated already; pass --templated prompt") for n in found["notes"]
    )
    found = fit(
        file, base=base, out=tmp_path / "U", members=1, frozen=True, folds=2,
        templated=("prompt",),
    )  # fmt: skip
    assert [n for n in found["notes"] if n.startswith(told)], "completions are text still"
    for r in rows:
        r |= {"chosen": f"{r['chosen']}<|im_end|>", "rejected": f"{r['rejected']}<|im_end|>"}
    file = lines(tmp_path / "w.jsonl", rows)
    for given in ((), ("prompt",)):
        out = tmp_path / f"W{len(given)}"
        found = fit(file, base=base, out=out, members=1, frozen=True, folds=2, templated=given)
        assert any(n.endswith("pass --templated prompt,completion") for n in found["notes"])
    with pytest.raises(InputError, match="--templated is 'prompts'; give some of prompt, chosen"):
        fit(file, base=base, out=tmp_path / "V", templated=("prompts",))


def test_a_fold_whose_other_rows_are_all_too_long_is_named_and_the_fit_goes_on(
    tmp_path: Path,
) -> None:
    base = model(tmp_path / "m", "bytes", CHATML)
    rows = plain(4)
    for r in rows[1:]:
        r["chosen"] = "we walk " * 60
    file = lines(tmp_path / "p.jsonl", rows)
    how: dict[str, Any] = {"base": base, "max_length": 64, "epochs": 1}
    found = fit(file, out=tmp_path / "R", members=2, folds=4, **how)
    assert sum("was not evaluated" in n for n in found["notes"]) == 1
    assert any(
        n.startswith("3 of 8 texts are longer than 64 tokens and were cut: 3 lost the beginning of "
                     "their prompt, 3 the end of their completion") for n in found["notes"]
    )  # fmt: skip
    # a bootstrap that draws no short row for a member
    fit(file, out=tmp_path / "B", members=6, folds=0, resample="bootstrap", **how)


def test_what_is_cut_is_told_once_wherever_rows_are_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = model(tmp_path / "m", "bytes", CHATML)
    found = lines(tmp_path / "p.jsonl", plain())
    fit(found, base=base, out=tmp_path / "R", members=1, folds=0, frozen=True, max_length=64)
    rows = plain()
    rows[2]["chosen"] = "we walk " * 60
    long = lines(tmp_path / "long.jsonl", rows)
    for verb in (
        lambda: score(tmp_path / "R", long, tmp_path / "scored.jsonl"),
        lambda: evaluate(str(tmp_path / "R"), long),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "assay"):
            verb()
        assert (
            sum("1 of 16 texts are longer than 64 tokens" in r.message for r in caplog.records) == 1
        )
    with pytest.raises(InputError, match="row 1: --max-length 0 leaves no room for a completion"):
        fit(found, base=base, out=tmp_path / "S", members=1, folds=0, frozen=True, max_length=0)


def test_pairs_that_differ_only_in_what_is_not_read_are_named_with_the_reason() -> None:
    replies = [
        (Turn("assistant", "home", json.dumps({"reasoning_content": why})),) for why in ("a", "b")
    ]
    pool = Pool(
        ["what?"] * 2,
        ["home"] * 2,
        [None] * 2,
        torch.tensor([1, 1]),
        torch.zeros(2, dtype=torch.int64),
        1,
        pairs=torch.tensor([[0, 1]]),
        p=torch.ones(1),
        margin=torch.zeros(1),
        replies=[*replies],
        file="f",
    )
    encoder, template = TextEncoder(small("bytes", CHATML)), Template("chat", 99, segments=False)
    says = r"no place for reasoning_content: 1 row; not read\); give other pairs"
    with pytest.raises(InputError, match=says):
        tokens_of(pool, encoder, template)
    reads = TextEncoder(small("bytes", QWEN3))
    kept, rows, notes = tokens_of(pool, reads, template)
    assert kept is pool and rows[0].ids != rows[1].ids and notes == []
