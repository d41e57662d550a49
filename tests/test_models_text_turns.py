"""Completions of several turns: the assistant's tokens are decisions, the others are given."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import torch
from tokenizers_small import CHATML, GEMMA, LLAMA3, QWEN3, R1, small

from assay.data.demos import Demo
from assay.data.pairs import Pair
from assay.data.turns import Turn, Turns
from assay.errors import InputError
from assay.models.tokenizer import Tokens
from assay.worlds.encoder import Encoder
from assay.worlds.item_tokens import ItemTokens
from assay.worlds.prompts import PromptTable

ASK = (Turn("user", "what is it"),)
REPLY = (
    Turn("assistant", "the old mill"),
    Turn("user", "it <|im_end|></s> rains"),
    Turn("assistant", "we <s>walk"),
)
R1_THINKS = R1.replace("<｜Assistant｜>{% endif %}", "<｜Assistant｜><think>\n{% endif %}")
CALL = {"function": {"name": "weather", "arguments": {"town": "the mill"}}}


def tokens(template: str | None, kind: str = "bytes") -> Tokens:
    made = small(kind, template)
    return Tokens(made, size=len(made), ends=(5, 1))


def read(
    words: Tokens, reply: Turns, ask: Turns = ASK, *, chat: bool = True
) -> list[tuple[str, bool]]:
    """The completion as text, parted where who decides it changes."""
    ids, own = words.reply(ask, reply, chat=chat)
    out: list[tuple[list[int], bool]] = []
    for i, mine in zip(ids, own, strict=True):
        if not out or out[-1][1] != mine:
            out.append(([], mine))
        out[-1][0].append(i)
    return [(words.tokenizer.decode(part), mine) for part, mine in out]


@pytest.mark.parametrize(
    ("template", "between"),
    [
        (CHATML, "\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"),
        (QWEN3, "\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"),
        (GEMMA, "\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>model\n"),
        (LLAMA3, "<|im_start|>user\n\n{}<|im_end|><|im_start|>assistant\n\n"),
        (R1, "<｜User｜>{}<｜Assistant｜>"),
        (R1_THINKS, "<｜User｜>{}<｜Assistant｜>"),
    ],
)
def test_the_assistant_decides_its_text_and_its_end_and_the_rest_is_given(
    template: str, between: str
) -> None:
    words = tokens(template)
    assert read(words, REPLY) == [
        ("the old mill<|im_end|>", True),
        (between.format(REPLY[1].content), False),
        ("we <s>walk<|im_end|>", True),
    ]
    ids, own = words.reply(ASK, REPLY, chat=True)
    assert sum(i == 5 for i, mine in zip(ids, own, strict=True) if mine) == 2
    assert 0 not in ids and 1 not in ids, "what people wrote is text"
    whole = [*words.encode(ASK), *ids]
    if "think" not in template:
        turns = [t.message() for t in (*ASK, *REPLY)]
        text = words.tokenizer.apply_chat_template(turns, tokenize=False)
        assert text.startswith(words.tokenizer.decode(whole)), "as the template writes it"
    one = words.reply(ASK, REPLY[:1], chat=True)[0]
    assert one == words.completion("the old mill") == ids[: len(one)], "as single turns are"


def test_calls_and_reasoning_are_decisions_and_what_tools_say_is_given() -> None:
    words = tokens(QWEN3)
    tools = json.dumps({"tools": [{"type": "function", "function": {"name": "weather"}}]})
    ask = (Turn("user", "what is it", tools),)
    asked = words.tokenizer.decode(words.encode(ask))
    assert '<tools>\n{"type": "function", "function": {"name": "weather"}}</tools>' in asked
    reply = (
        Turn("assistant", "", json.dumps({"thinking": "why", "tool_calls": [CALL]})),
        Turn("tool", "it rains <|im_end|>"),
        Turn("assistant", "home", json.dumps({"reasoning": "a"})),
    )
    assert read(words, reply, ask) == [
        (
            '<think>\nwhy\n</think>\n\n\n<tool_call>\n{"name": "weather", "arguments": '
            '{"town": "the mill"}}\n</tool_call><|im_end|>',
            True,
        ),
        (
            "\n<|im_start|>user\n<tool_response>\nit rains <|im_end|>\n</tool_response>"
            "<|im_end|>\n<|im_start|>assistant\n",
            False,
        ),
        ("<think>\na\n</think>\n\nhome<|im_end|>", True),
    ]
    assert words.text.chat.unread == {}


def test_what_a_template_has_no_place_for_is_remembered_by_name_and_place() -> None:
    words = tokens(CHATML)
    call = {"id": "7", **CALL}
    words.text.chat.at = "here"
    more = json.dumps({"tool_calls": [call], "reasoning_content": "home"})  # a word of the text
    words.reply(ASK, (Turn("assistant", "home", more),), chat=True)
    assert words.text.chat.unread == {"tool_calls": {"here"}, "reasoning_content": {"here"}}
    words = tokens(QWEN3)
    words.reply(ASK, (Turn("assistant", "home", more),), chat=True)
    assert set(words.text.chat.unread) == {"tool_calls.id"}, "what is written is not named"


def test_without_a_template_it_is_a_transcript_whose_other_speakers_are_given() -> None:
    for words, chat in ((tokens(None), True), (tokens(CHATML), False)):
        assert read(words, REPLY, chat=chat) == [
            ("the old mill", True),
            ("\n\nHuman: it <|im_end|></s> rains\n\nAssistant:", False),
            (" we <s>walk<|im_end|>", True),
        ]


def test_a_leading_blank_is_not_written_in_the_middle_of_a_conversation() -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{ {{ m['content'] }} }"
        "{% else %} {{ m['content'] }} {{ eos_token }}{% endif %}{% endfor %}"
    )
    words = tokens(template, "llama")
    ids, own = words.reply(ASK, REPLY, chat=True)
    whole = words.tokenizer.decode([*words.encode(ASK), *ids])
    assert "  " not in whole
    assert whole.replace(" ", "") == (
        "<s>{whatisit}theoldmill</s>{it<|im_end|></s>rains}we<s>walk<|im_end|>"
    )
    assert ids.count(1) == 1 and own[ids.index(1)]


BLANK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}( {{ m['content'] }} )"
    "{% else %} {{ m['content'] }}<|im_end|>{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("kind", ["bytes", "llama", "unigram"])
@pytest.mark.parametrize("template", [CHATML, R1, BLANK])
def test_a_demonstration_has_the_tokens_that_transformers_makes_of_the_conversation(
    kind: str, template: str
) -> None:
    words = tokens(template, kind)
    made = ItemTokens(words, True, frozenset())
    ((ids, own),) = made.tokens(Demo(1, "what is it", "home"), ("completion",), ASK, "what is it")
    talk = [*(t.message() for t in ASK), {"role": "assistant", "content": "home"}]
    want = words.tokenizer.apply_chat_template(talk, tokenize=True, return_dict=False)
    have = [*words.encode(ASK), *ids]
    assert have == want[: len(have)] and all(own)
    assert words.reply(ASK, REPLY[:1], chat=True)[0] == words.completion("the old mill", chat=True)
    begun = (*ASK, Turn("assistant", "it rain"))
    ((ids, _),) = made.tokens(Demo(1, "what is it", "s"), ("completion",), begun, "what is it")
    assert (
        ids == words.completion("s") == words.reply(begun, (Turn("assistant", "s"),), chat=True)[0]
    )


def test_a_template_that_rewrites_earlier_turns_is_one_sentence() -> None:
    counts = CHATML.replace("{% for m", "{{ messages | length }}{% for m", 1)
    with pytest.raises(InputError, match="writes earlier turns in another way when later ones"):
        tokens(counts).reply(ASK, REPLY, chat=True)
    with pytest.raises(InputError, match="begins with what the user said"):
        tokens(CHATML).reply(ASK, REPLY[1:], chat=True)


def test_a_reply_goes_on_with_what_the_prompt_began() -> None:
    ask = (*ASK, Turn("assistant", "the old"))
    words = tokens(CHATML)
    assert words.tokenizer.decode(words.encode(ask)).endswith("<|im_start|>assistant\nthe old")
    assert read(words, (Turn("assistant", " mill"), *REPLY[1:]), ask)[0] == (
        " mill<|im_end|>",
        True,
    )


def encoder(
    template: str | None, *, templated: frozenset[str] = frozenset(), **how: Any
) -> Encoder:
    table = PromptTable()
    table.add("what is it", None, {}, "f, row 1")
    table.add("why", None, {}, "f, row 2")
    words = tokens(template)
    made = Encoder(words, table, True, 64, how.pop("max_tokens", 90), torch.float64, templated)
    table.own = [0, 1]
    return made


def test_pairs_hold_given_tokens_and_leave_out_and_count_what_they_cannot_use(
    caplog: pytest.LogCaptureFixture,
) -> None:
    items = [
        (0, Pair(1, "what is it", "x", "y", replies=(REPLY, (Turn("assistant", "home"),)))),
        (0, Pair(2, "what is it", "home", "river", p=0.9)),
        (1, Pair(3, "why", "home", "home ", replies=None)),
        (1, Pair(4, "why", "same", "same")),
        (1, Pair(5, "why", "u", "v", replies=(REPLY[1:], REPLY))),
        (1, Pair(6, "why", "a", "we walk " * 100)),
    ]
    made = encoder(CHATML)
    with caplog.at_level(logging.WARNING, "assay"):
        x = made.pairs("f", items, [])
    assert x.p.tolist() == [1.0, 0.9, 1.0]
    assert x.given[0, 0].any() and not x.given[0, 1].any() and not (x.given & x.mask).any()
    assert x.text()[0][0].startswith("the old mill\nuser\nit <|im_end|></s> rains\n")
    assert bool(torch.isnan(x.logp[x.mask]).all()) and bool((x.logp[x.given] == 0).all())
    ids, own = made.vocabulary.reply(ASK, REPLY, chat=True)
    assert x.action[0, 0, : len(ids)].tolist() == ids and x.mask[0, 0, : len(ids)].tolist() == own
    told = [r.getMessage() for r in caplog.records]
    assert told[0].startswith("f: some rows cannot be encoded, the first: f, row 5: a completion ")
    assert told[1] == (
        "f: of 6 pairs, left out: 1 whose two completions give the same tokens, 1 that cannot be "
        "encoded, 1 with a completion of more than 90 tokens"
    )


def test_unread_parts_and_marks_are_told_once_a_file_with_their_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    more = json.dumps({"tool_calls": [CALL]})
    items = [
        (0, Demo(i, "what is it", "home <s>", reply=(Turn("assistant", "home <s>", more),)))
        for i in (3, 4)
    ]
    with caplog.at_level(logging.WARNING, "assay"):
        encoder(CHATML).demos("f", items, [])
    assert [r.getMessage() for r in caplog.records] == [
        "f: 2 rows hold special tokens written out ('<s>' first in row 3); they are encoded as "
        "text",
        "f: the chat template has no place for tool_calls: 2 rows; not read",
    ]


def test_templated_completions_end_once() -> None:
    made = encoder(CHATML, templated=frozenset({"completion"}))
    x = made.demos("f", [(0, Demo(1, "what is it", "home<|im_end|>\n"))], [])
    assert x.action[0, 0][x.mask[0, 0]].tolist() == made.vocabulary.completion("home")
    with pytest.raises(InputError, match=r"none can be used \(1 that cannot be encoded\)"):
        made.demos("f", [(0, Demo(1, "what is it", "home <s>"))], [])


def test_what_the_generation_prompt_opens_is_not_written_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    opens = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    made = encoder(opens)
    rows = [Pair(1, "what is it", "<think>\nit rains", "the mill"), Pair(2, "why", "we", "home")]
    with caplog.at_level(logging.WARNING, "assay"):
        x = made.pairs("f", list(enumerate(rows)), ())
    decode, end = made.vocabulary.decode, "it rains"
    assert decode(x.prompts.tokens[0].tolist()).endswith("<think>\n")
    assert decode(x.action[0, 0][x.mask[0, 0]].tolist()) == end
    assert decode(x.action[0, 1][x.mask[0, 1]].tolist()) == "the mill"
    assert "1 row with completions that begin with '<think>'" in caplog.text
    later = (*REPLY[:2], Turn("assistant", "<think>\nwe walk"))
    assert read(made.vocabulary, later)[-1] == ("we walk<|im_end|>", True)


def test_a_text_without_a_prompt_answers_no_user_and_has_one_begin_token() -> None:
    whole = "<|im_start|>user\nwhat is it<|im_end|>\n<|im_start|>assistant\nhome<|im_end|>\n"
    for templated in (frozenset[str](), frozenset({"completion"})):
        made = encoder(CHATML, templated=templated)
        place = made.table.find_or_add("", None, {}, "f, row 1")
        begin = made.vocabulary.tokenizer.bos_token
        text = f"{begin}{whole}" if templated else "the old mill"
        x = made.demos("f", [(place, Demo(1, "", text))], ())
        ids = [*x.prompts.tokens[0].tolist(), *x.action[0, 0].tolist()]
        said = made.vocabulary.tokenizer.decode(ids)
        assert said == (text.rstrip("\n") if templated else f"{begin}the old mill<|im_end|>")
