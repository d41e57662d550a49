"""Small tokenizers of the kinds people use, and chat templates as they are in the wild."""

from __future__ import annotations

import copy
import functools
from typing import Any

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "<|im_start|>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "<｜User｜>{{ m['content'] }}{% else %}<｜Assistant｜>"
    "{{ m['content'].split('</think>')[-1] }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}\n\n"
    "{{ m['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
QWEN3 = (
    "{% if tools %}<|im_start|>system\n<tools>"
    "{% for t in tools %}{{ '\n' }}{{ t | tojson }}{% endfor %}"
    "\n</tools><|im_end|>\n{% endif %}"
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|im_start|>assistant\n"
    "{% if loop.index0 > ns.last and m['reasoning_content'] %}"
    "<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ '\n' }}"
    "<tool_call>\n{{ c['function'] | tojson }}\n</tool_call>"
    "{% endfor %}<|im_end|>\n{% elif m['role'] == 'tool' %}"
    "<|im_start|>user\n<tool_response>\n{{ m['content'] }}\n</tool_response><|im_end|>\n"
    "{% else %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXTS = ["the old mill by the river", "what is the weather like?", "it rains; we walk home"] * 20
SPECIAL = ["<s>", "</s>", "<unk>", "<pad>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<think>", "</think>", "<｜User｜>", "<｜Assistant｜>", "<tool_call>", "</tool_call>"]
ALPHABET = sorted({c for t in [*TEXTS, *SPECIAL, *ADDED] for c in t} | set("0123456789!.,:{}\"'\n"))


def small(kind: str, template: str | None = None) -> Any:
    """A tokenizer: "bytes" (byte-level BPE), "llama" (BPE with a blank before a text), "unigram",
    "wordpiece" or "python" (no fast one); those of a kind have the same tokens.
    """
    made = copy.deepcopy(_trained(kind))
    made.chat_template = template
    return made


@functools.cache
def _trained(kind: str) -> Any:
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        processors,
        trainers,
    )
    from tokenizers import pre_tokenizers as pre
    from transformers import PreTrainedTokenizerFast

    if kind == "python":
        return _in_python()
    common: dict[str, Any] = {"special_tokens": SPECIAL, "show_progress": False, "vocab_size": 400}
    if kind == "bytes":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(initial_alphabet=pre.ByteLevel.alphabet(), **common)
    elif kind == "llama":
        inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        inner.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        inner.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        trainer = trainers.BpeTrainer(initial_alphabet=ALPHABET, **common)
    elif kind == "unigram":
        inner = Tokenizer(models.Unigram())
        inner.pre_tokenizer = pre.Metaspace(prepend_scheme="first")
        inner.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.UnigramTrainer(initial_alphabet=ALPHABET, unk_token="<unk>", **common)
    else:
        inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
        inner.normalizer = normalizers.BertNormalizer(lowercase=False)
        inner.pre_tokenizer = pre.Split(Regex(r"\s"), "isolated")
        inner.decoder = decoders.WordPiece(cleanup=False)
        trainer = trainers.WordPieceTrainer(initial_alphabet=ALPHABET, **common)
    inner.train_from_iterator([*TEXTS, "".join(ALPHABET), "".join(ALPHABET[::-1])], trainer)
    inner.add_tokens([AddedToken(t, normalized=False) for t in ADDED])
    if kind == "wordpiece":
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B:1 </s>:1",
            special_tokens=[("<s>", 0), ("</s>", 1)],
        )
    elif kind != "bytes":
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    two = {"cls_token": "<s>", "sep_token": "</s>"} if kind == "wordpiece" else {}
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        **two,
    )
    return made


def _in_python() -> Any:
    """A tokenizer of characters whose code is Python."""
    from transformers import PreTrainedTokenizer

    class Characters(PreTrainedTokenizer):
        def __init__(self, **how: Any):
            self.words = {c: i for i, c in enumerate([*SPECIAL, *ALPHABET])}
            super().__init__(**how)

        @property
        def vocab_size(self) -> int:
            return len(self.words)

        def get_vocab(self) -> dict[str, int]:
            return {**self.words, **self.added_tokens_encoder}

        def _tokenize(self, text: str, **_: Any) -> list[str]:
            return list(text)

        def _convert_token_to_id(self, token: str) -> int:
            return self.words.get(token, 2)

        def _convert_id_to_token(self, index: int) -> str:
            return [*SPECIAL, *ALPHABET][index]

        def convert_tokens_to_string(self, tokens: list[str]) -> str:
            return "".join(tokens)

    made = Characters(
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    made.add_tokens(ADDED)
    return made
