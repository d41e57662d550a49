"""Rows of a data file as the tokens that a policy is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch

from assay.core import Samples
from assay.data import hub
from assay.data.demos import Demo
from assay.data.items import Item
from assay.data.pairs import Pair
from assay.data.prompt_cells import Prompt
from assay.data.row_parts import completions
from assay.data.scored import Scored
from assay.engine import progress
from assay.errors import InputError
from assay.models.text_notes import as_written, parts_templated
from assay.models.tokenizer import Tokens
from assay.rewards.encoding import open_tokenizer
from assay.worlds.chat_template import end_tokens, own_ends
from assay.worlds.encoder import Encoder
from assay.worlds.prompts import PromptTable

_ENOUGH = 1 << 30  # tokens: rows over a limit are shown too


def row_tokens(
    model: str,
    items: Sequence[Item],
    *,
    chat: bool,
    max_prompt: int,
    max_tokens: int,
    templated: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Encode rows as a policy's encoder does, whole.

    Args:
        model: A Hugging Face model id or a local folder; its weights are not loaded.
        items: The rows.
        chat: Whether conversations, and texts if the tokenizer has a template, go through it.
        max_prompt: Most tokens of a prompt.
        max_tokens: Most tokens of a completion.
        templated: The parts of the rows that a chat template wrote already.

    Returns:
        For each row `prompt` and `completions`. Each of these has `text` (what its tokens say),
        `n`, `limit`, `over` (whether it is longer), and its tokens: `ids`, `pieces` and `learned`
        (whether the policy decides the token). Completions have a `name` and `ends`, whether the
        last token is one that ends a completion. A row that cannot be encoded has an `error` alone.

    Raises:
        InputError: The model has no tokenizer, or one that does not belong to it; or there is no
            such part.
    """
    written = parts_templated(templated)
    with progress.stage(f"opening the tokenizer of {model}"):
        vocabulary = open_vocabulary(model, chat=chat)
    return [_row(vocabulary, item, chat, max_prompt, max_tokens, written) for item in items]


def open_vocabulary(model: str, *, chat: bool) -> Tokens:
    """A model's tokenizer with what ends a completion, without the model's weights.

    Args:
        model: A Hugging Face model id or a local folder.
        chat: Whether the chat template is used.

    Raises:
        InputError: There is no such model, or its tokenizer does not belong to it.
    """
    tokenizer = open_tokenizer(model)
    from transformers import AutoConfig, GenerationConfig

    here = hub.local_only(model, f"'{model}' should name a model")
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False, local_files_only=here)
    except Exception as why:  # transformers and the hub raise many types for one thing
        raise hub.refused(model, f"{model} gives no configuration", why) from why
    try:
        generation = GenerationConfig.from_pretrained(model, local_files_only=here)
    except OSError:  # a model need not have one
        generation = GenerationConfig.from_model_config(config)
    chat = chat and bool(getattr(tokenizer, "chat_template", None))
    size = int(config.get_text_config().vocab_size)
    own = own_ends(SimpleNamespace(generation_config=generation, config=config), size)
    return Tokens(tokenizer, size=size, ends=end_tokens(tokenizer, own, chat=chat))


def encoded(
    vocabulary: Tokens, item: Item, *, chat: bool, templated: frozenset[str] = frozenset()
) -> tuple[list[int], list[tuple[list[int], list[bool]]]]:
    """Encode one row as it is trained on.

    Args:
        vocabulary: The policy's tokenizer.
        item: The row.
        chat: Whether the chat template is used.
        templated: The parts of the row that a chat template wrote already.

    Returns:
        The prompt's ids; and of each completion its ids and whether the policy decides each.
    """
    table = PromptTable()
    place = table.add(as_written(item.prompt, "prompt", templated), item.turns, {})
    encoder = Encoder(vocabulary, table, chat, _ENOUGH, _ENOUGH, torch.float32, templated)
    prompt = list(encoder.ids(place) or ())
    if isinstance(item, Prompt):
        return prompt, []
    if isinstance(item, Scored):
        item = Demo(item.row, item.prompt, item.response, item.turns, item.reply)
    make = encoder.pairs if isinstance(item, Pair) else encoder.demos
    x: Samples = make(f"row {item.row}", [(place, item)], ())
    said = list[tuple[list[int], list[bool]]]()
    for n in range(x.mask.shape[1]):
        own, given = x.mask[0, n], x.given[0, n]
        there = own | given  # the rest is padding
        said.append((x.action[0, n][there].tolist(), own[there].tolist()))
    return prompt, said


def _row(
    vocabulary: Tokens,
    item: Item,
    chat: bool,
    max_prompt: int,
    max_tokens: int,
    templated: frozenset[str],
) -> dict[str, Any]:
    try:
        prompt, said = encoded(vocabulary, item, chat=chat, templated=templated)
    except InputError as why:
        return {"error": str(why)}
    names = [name for name, _, _ in completions(item)]
    return {
        "prompt": _part(vocabulary, prompt, [False] * len(prompt), max_prompt),
        "completions": [
            {
                "name": name,
                **_part(vocabulary, ids, own, max_tokens),
                "ends": bool(ids) and ids[-1] in vocabulary.ends,
            }
            for name, (ids, own) in zip(names, said, strict=True)
        ],
    }


def _part(vocabulary: Tokens, ids: list[int], learned: list[bool], limit: int) -> dict[str, Any]:
    return {
        "text": _said(vocabulary.tokenizer, ids),
        "n": len(ids),
        "limit": limit,
        "over": len(ids) > limit,
        "ids": ids,
        "pieces": [_piece(vocabulary.tokenizer, i) for i in ids],
        "learned": learned,
    }


def _said(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _piece(tokenizer: Any, token: int) -> str:
    """A token's text; the tokenizer's own name of it where it is a part of a character."""
    text = _said(tokenizer, [token])
    return str(tokenizer.convert_ids_to_tokens(token)) if not text or "\ufffd" in text else text
