"""Text is encoded as text: special tokens that stand written out in it are characters."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers_small import ADDED, CHATML, GEMMA, LLAMA3, QWEN3, R1, SPECIAL, small

from assay.data.turns import Turn
from assay.errors import InputError
from assay.models.text_encoder import Templated, TextEncoder
from assay.models.tokenizer import Tokens

KINDS = ("bytes", "llama", "unigram", "wordpiece", "python")
WORDS = ("the old mill", " river", " we walk", "it rains;", " home!", " 2,3", ".", " ")
MARKED = [m for m in SPECIAL if m != "<unk>"]


def texts(rng: random.Random, marks: list[str], n: int = 60) -> list[str]:
    """Texts with marks in them, also side by side and in halves."""
    made = []
    for _ in range(n):
        parts = [rng.choice(WORDS) for _ in range(rng.randint(1, 4))]
        for _ in range(rng.randint(1, 3)):
            mark = rng.choice(marks)
            part = mark if rng.random() < 0.7 else mark[: rng.randint(1, len(mark))]
            parts.insert(rng.randint(0, len(parts)), part)
        made.append("".join(parts))
    return made


def read(tokenizer: Any, ids: list[int]) -> str:
    """What ids say, blanks apart: WordPiece and its like do not keep them."""
    return "".join(tokenizer.decode(ids, clean_up_tokenization_spaces=False).split())


@pytest.mark.parametrize("kind", KINDS)
def test_no_special_token_is_read_out_of_a_text_and_every_character_is_kept(kind: str) -> None:
    tokenizer = small(kind)
    encoder = TextEncoder(tokenizer)
    special = {tokenizer.convert_tokens_to_ids(m) for m in MARKED}
    assert encoder.marks.barred == special
    for text in texts(random.Random(0), MARKED):
        ids = encoder.content(text)
        assert special.isdisjoint(ids), text
        assert read(tokenizer, ids) == "".join(text.split()), text
    for plain in ("the old mill <think> river", " we walk  home\n\n"):
        was = tokenizer(plain, add_special_tokens=False)["input_ids"]
        assert encoder.content(plain) == was == encoder.marks.as_text(plain), "as it was"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("template", [CHATML, GEMMA, R1, LLAMA3, QWEN3])
def test_a_conversation_holds_the_template_s_marks_and_no_others(kind: str, template: str) -> None:
    tokenizer = small(kind, template)
    encoder = TextEncoder(tokenizer)
    marks = [*MARKED, *(m for m in ADDED[2:4] if m in template)]
    special = {tokenizer.convert_tokens_to_ids(m) for m in marks}

    def ids_of(text: str) -> list[int]:
        talk = (Turn("user", text), Turn("assistant", "it rains;"), Turn("user", text))
        return encoder.prompt(talk)

    plain = ids_of("the old mill")
    talk = [
        {"role": r, "content": c}
        for r, c in (("user", "the old mill"), ("assistant", "it rains;"), ("user", "the old mill"))
    ]
    how: dict[str, Any] = {"add_generation_prompt": True}
    assert plain == tokenizer.apply_chat_template(talk, return_dict=False, **how), "as it was"
    count = sum(i in special for i in plain)
    for text in texts(random.Random(1), marks, 25):
        ids = ids_of(text)
        assert sum(i in special for i in ids) == count, text
        for message in talk[::2]:
            message["content"] = text
        whole = tokenizer.apply_chat_template(talk, tokenize=False, **how)
        assert read(tokenizer, ids) == "".join(whole.split()), text


def test_the_mark_of_a_template_is_none_of_a_tokenizer_that_has_another_template() -> None:
    user, think = small("bytes").convert_tokens_to_ids(["<｜User｜>", "<think>"])
    text = "<｜User｜> and <think>"
    assert {user, think} <= set(TextEncoder(small("bytes", CHATML)).content(text))
    ids = TextEncoder(small("bytes", R1)).content(text)
    assert user not in ids and think in ids, "<think> is what an assistant says"
    assert think in TextEncoder(small("bytes", QWEN3)).content(text)


def test_signs_that_stand_in_for_marks_may_stand_in_the_text() -> None:
    tokenizer = small("bytes", CHATML)
    encoder = TextEncoder(tokenizer)
    for text in ("\ue000" + "0\ue000 <|im_end|>", "<|im_end|>\ue001\ue000", "\ue0001\ue000"):
        assert tokenizer.decode(encoder.content(text)) == text
        said = tokenizer.decode(encoder.prompt((Turn("user", text),)))
        assert said == f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    everything = "".join(map(chr, range(0xE000, 0xF900)))
    with pytest.raises(InputError, match="all characters that Unicode leaves to private use"):
        encoder.content(everything + "<s>")


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_have_one_bos_and_what_the_tokenizer_puts_around_texts(kind: str) -> None:
    tokenizer = small(kind)
    tokens = Tokens(tokenizer, size=len(tokenizer))
    plain, marked = tokens.encode("the old mill"), tokens.encode("the <s>old</s> mill</s>")
    whole = tokenizer("the old mill")["input_ids"]
    assert plain == (whole[:-1] if kind == "wordpiece" else whole)
    assert marked.count(0) == plain.count(0) and marked.count(1) == plain.count(1) == 0


def test_a_text_that_is_templated_already_keeps_its_marks_one_bos_and_one_end() -> None:
    tokenizer = small("llama", CHATML)
    tokens = Tokens(tokenizer, size=len(tokenizer), ends=(5, 1))
    with_bos = tokens.encode(Templated("<s><|im_start|>user"))
    assert with_bos == tokens.encode(Templated("<|im_start|>user"))
    assert with_bos[:2] == [0, 4] and with_bos.count(0) == 1
    once = tokens.completion("we walk")
    assert once[-1] == 5 and tokens.completion(Templated("we walk<|im_end|>")) == once
    assert tokens.completion(Templated("we walk<|im_end|> ")) == once
    assert tokens.completion(Templated("we walk")) == once


def test_half_of_a_surrogate_pair_is_one_sentence() -> None:
    for kind in KINDS:
        encoder = TextEncoder(small(kind, CHATML))
        for give in (
            lambda e: e.content("cold water.\ud83c"),
            lambda e: e.prompt("cold water.\ud83c"),
            lambda e: e.prompt((Turn("user", "cold water.\ud83c <s>"),)),
            lambda e: e.content("<s>\ud83c"),
        ):
            with pytest.raises(InputError, match=r"U\+D83C, half of a surrogate pair"):
                give(encoder)


def test_what_a_template_refuses_or_leaves_out_is_one_sentence() -> None:
    system = (Turn("system", "be brief"), Turn("user", "why?"))
    with pytest.raises(InputError, match=r"refuses .* system, user \(System role not supported\)"):
        TextEncoder(small("bytes", GEMMA)).prompt(system)
    thought = (Turn("user", "why?"), Turn("assistant", "<think>so</think>this"), Turn("user", "?"))
    with pytest.raises(InputError, match="leaves out what the assistant said"):
        TextEncoder(small("bytes", R1)).prompt(thought)
    deep = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"
    with pytest.raises(InputError, match="the chat template refuses a conversation of roles user"):
        TextEncoder(small("bytes", deep)).prompt((Turn("user", "why?"),))
    spaced = TextEncoder(small("bytes", LLAMA3)).prompt((Turn("user", "  why?\n"),))
    assert small("bytes").decode(spaced).startswith("<s><|im_start|>user\n\nwhy?<|im_end|>")


def test_a_prompt_that_ends_with_the_assistant_is_gone_on_with() -> None:
    tokenizer = small("bytes", CHATML)
    ids = TextEncoder(tokenizer).prompt((Turn("user", "why?"), Turn("assistant", "be<s>cause")))
    said = "<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\nbe<s>cause"
    assert tokenizer.decode(ids) == said and 0 not in ids


def test_a_tokenizer_in_use_keeps_every_character_and_its_ids() -> None:
    folder = os.environ.get("ASSAY_TEST_TOKENIZER", "")
    if not Path(folder, "tokenizer.json").is_file():
        pytest.skip("ASSAY_TEST_TOKENIZER names no folder of a tokenizer")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    encoder = TextEncoder(tokenizer)
    for text in texts(random.Random(2), list(encoder.marks.ids), 300):
        ids = encoder.content(text)
        assert encoder.marks.barred.isdisjoint(ids)
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
        if encoder.marks.first(text) is None:
            assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
            assert ids == encoder.marks.as_text(text)


def test_what_a_tool_said_may_be_written_as_json_and_what_is_lost_is_found() -> None:
    escapes = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | tojson }}")
    said = '{"town": "the mill", "sky": "it rains;"}'
    turns = (Turn("user", "why?"), Turn("tool", said))
    assert TextEncoder(small("bytes", escapes)).prompt(turns)
    with pytest.raises(InputError, match="leaves out what the user said"):
        TextEncoder(small("bytes", escapes)).prompt((Turn("user", 'say "so"'),))
    anew = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | replace(', ', '; ') }}")
    assert TextEncoder(small("bytes", anew)).prompt(turns)
    lost = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | replace('rains', '') }}")
    with pytest.raises(InputError, match="leaves out what the tool said"):
        TextEncoder(small("bytes", lost)).prompt(turns)


def test_a_mark_that_a_normalizer_makes_of_a_prompt_is_text() -> None:
    from tokenizers import AddedToken, normalizers
    from transformers import PreTrainedTokenizerFast

    inner = small("bytes").backend_tokenizer
    inner.normalizer = normalizers.Lowercase()
    inner.add_special_tokens([AddedToken("<|sys|>", normalized=True, special=True)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>")
    words, mark = Tokens(made, size=len(made)), made.convert_tokens_to_ids("<|sys|>")
    assert mark in made("the <|SYS|> mill")["input_ids"]
    assert mark not in words.encode("the <|SYS|> mill")
    assert words.decode(words.encode("the <|SYS|> mill")) == "the <|sys|> mill"
