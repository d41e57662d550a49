"""Rows of a data file as the tokens that a policy is trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from assay.core import Samples
from assay.data import hub
from assay.data.demos import Demo
from assay.data.items import Item
from assay.data.opening import opening
from assay.data.pairs import Pair
from assay.data.prompt_cells import Prompt
from assay.data.row_parts import completions
from assay.data.scored import Scored
from assay.engine import progress
from assay.errors import InputError
from assay.models.text_notes import as_written, marked_note, parts_templated, unread_notes
from assay.models.tokenizer import Tokens
from assay.rewards.encoding import open_tokenizer
from assay.worlds.chat_template import end_tokens, own_ends
from assay.worlds.encoder import Encoder
from assay.worlds.prompts import PromptTable

log = logging.getLogger("assay")
_ENOUGH = 1 << 30  # tokens: rows over a limit are shown too


@dataclass
class _OneRow(Encoder):
    """Encodes a single row; what there is to say of all rows is said when they are through."""

    row: int = 0

    def _note_marks(self, file: str, rows: Iterable[tuple[int, str, Sequence[str]]]) -> None:
        """Say nothing yet."""

    def _note_unread(self, file: str) -> None:
        """Say nothing yet."""

    @contextmanager
    def _at(self, where: str) -> Iterator[None]:
        """Count the row by its number. Errors do not repeat it: the caller prints it."""
        self.vocabulary.text.chat.at = self.row
        yield


def row_tokens(
    model: str,
    items: Sequence[Item],
    *,
    chat: bool,
    max_prompt: int,
    max_tokens: int,
    templated: Sequence[str] = (),
    file: str = "",
) -> list[dict[str, Any]]:
    """Encode rows as a policy's encoder does, whole.

    Special tokens written out, and what the chat template has no place for, are one warning each
    for all rows.

    Args:
        model: A Hugging Face model id or a local folder; its weights are not loaded.
        items: The rows.
        chat: Whether conversations, and texts if the tokenizer has a template, go through it.
        max_prompt: Most tokens of a prompt.
        max_tokens: Most tokens of a completion.
        templated: The parts of the rows that a chat template wrote already.
        file: The file's name, for the warnings.

    Returns:
        For each row `prompt` and `completions`. Each of these has `text` (what its tokens say),
        `n`, `limit`, `over` (whether it is longer), and its tokens: `ids`, `pieces` and `learned`
        (whether the policy decides the token). Completions have a `name` and `ends`, whether the
        last token is one that ends a completion. A row that cannot be encoded has an `error` alone.

    Raises:
        InputError: The model has no tokenizer, or one that does not belong to it; or there is no
            such part.
    """
    parts = parts_templated(templated)
    with progress.stage(f"opening the tokenizer of {model}"):
        vocabulary = open_vocabulary(model, chat=chat)
    rows = [_row(vocabulary, item, chat, parts, max_prompt, max_tokens) for item in items]
    of, written = vocabulary.text.chat, (_texts(item, parts) for item in items)
    notes = [marked_note(of, written), *unread_notes(of, template=chat)]
    for note in notes:
        if note is not None:
            log.warning("%s: of the rows shown, %s", file, note)
    return rows


def _texts(item: Item, templated: frozenset[str]) -> tuple[int, str, list[str]]:
    """A row, its prompt and its completions, as they are encoded."""
    said = [as_written(text, name, templated) for name, text, _ in completions(item)]
    return item.row, as_written(item.prompt, "prompt", templated), said


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

    with opening(model, f"'{model}' should name a model", weights=False) as how:
        try:
            config = AutoConfig.from_pretrained(model, **how)
        except Exception as why:  # transformers and the hub raise many types for one thing
            raise hub.refused(model, f"{model} gives no configuration", why) from why
        how.pop("trust_remote_code")  # generation settings have no code
        try:
            generation = GenerationConfig.from_pretrained(model, **how)
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
    how = (vocabulary, table, chat, _ENOUGH, _ENOUGH, torch.float32, templated)
    encoder = _OneRow(*how, row=item.row)
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
    templated: frozenset[str],
    max_prompt: int,
    max_tokens: int,
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
