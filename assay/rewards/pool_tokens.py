"""A pool's rows as a reward model's tokens, and what is to be said about them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from assay.data.turns import Turns
from assay.engine import progress
from assay.engine.plural import counted
from assay.errors import InputError
from assay.models.text_encoder import TextEncoder
from assay.models.text_notes import marked_note, unread_notes
from assay.rewards.encoding import Template
from assay.rewards.pool import Pool
from assay.rewards.row_tokens import Encoded, encode


def encoded(
    encoder: TextEncoder,
    template: Template,
    prompts: Sequence[str],
    responses: Sequence[str],
    turns: Sequence[Turns | None] | None = None,
    replies: Sequence[Turns | None] | None = None,
    places: Sequence[str] | None = None,
) -> list[Encoded]:
    """Encode rows.

    Args:
        encoder: The tokenizer's.
        template: How prompt and completion are put together.
        prompts: R prompts.
        responses: R completions.
        turns: The conversation of each prompt, or None.
        replies: The turns of each completion, or None.
        places: What a message calls each row, such as "pairs.jsonl, row 7".

    Raises:
        InputError: A row cannot be encoded.
    """
    none = [None] * len(prompts)
    rows = list(zip(prompts, responses, turns or none, replies or none, strict=True))
    out = []
    for i, row in enumerate(progress.over(rows, "tokenizing", "texts")):
        place = places[i] if places else f"text {i + 1} of {len(rows)}"
        encoder.chat.at = place
        try:
            out.append(encode(encoder, template, *row))
        except InputError as why:
            raise InputError(f"{place}: {why}") from why
    return out


def tokens_of(
    pool: Pool, encoder: TextEncoder, template: Template
) -> tuple[Pool, list[Encoded], list[str]]:
    """Encode a pool's texts, and leave out pairs whose completions become the same tokens.

    Args:
        pool: The texts and their labels.
        encoder: The tokenizer's.
        template: How prompt and completion are put together.

    Returns:
        (the pool without those pairs, its rows, notes for the user).

    Raises:
        InputError: A row cannot be encoded, or no pair is left.
    """
    rows = encoded(
        encoder, template, pool.prompts, pool.responses, pool.turns, pool.replies, pool.places()
    )
    unread = unread_notes(encoder.chat, template=template.form == "chat")
    notes = marks_of(pool, encoder) + unread
    same = same_rows(pool, rows)
    if same is None:
        return pool, rows, notes
    said, keep = same_tokens(pool, same, rows, unread), pool.kept(same).tolist()
    return pool.without(same), [r for r, ok in zip(rows, keep, strict=True) if ok], [*notes, said]


def same_rows(pool: Pool, rows: Sequence[Encoded]) -> Bool[Tensor, "B"] | None:
    """Return which pairs have two completions of the same tokens; None if no pair has.

    Args:
        pool: The texts.
        rows: Their tokens.
    """
    if pool.pairs is None:
        return None
    same = torch.tensor([rows[a].ids == rows[b].ids for a, b in pool.pairs.tolist()])
    return same if bool(same.any()) else None


def same_tokens(
    pool: Pool, same: Bool[Tensor, "B"], rows: Sequence[Encoded], unread: Sequence[str] = ()
) -> str:
    """Say that pairs are left out because their completions become the same tokens.

    Args:
        pool: The texts.
        same: What `same_rows` found.
        rows: The texts' tokens.
        unread: What of the texts is not among their tokens, in words.

    Raises:
        InputError: They are all pairs of the pool.
    """
    cut = any(r.cut for r in rows)
    why = ", some after they were cut" if cut else ""
    pairs = counted(int(same.sum()), "pair")
    said = f"{pairs} left out: both completions give the same tokens{why}"
    if bool(same.all()):
        why = "".join(f" ({note})" for note in unread)
        raise InputError(f"{pool.file}: {said}, and no pair is left{why}; give other pairs")
    return said


def marks_of(pool: Pool, encoder: TextEncoder) -> list[str]:
    """Say which of a pool's rows hold special tokens written out; nothing where none does."""
    by_row = dict[int, tuple[str, list[str]]]()
    for row, prompt, response in zip(pool.row.tolist(), pool.prompts, pool.responses, strict=True):
        by_row.setdefault(row, (prompt, []))[1].append(response)
    found = marked_note(encoder.chat, ((row, *texts) for row, texts in by_row.items()))
    return [] if found is None else [found]


def cut_note(rows: Sequence[Encoded], limit: int) -> str | None:
    """Say how many rows were cut, and where; None if none was.

    Args:
        rows: The rows.
        limit: The most tokens of a row.
    """
    cut, lost = sum(r.cut > 0 for r in rows), sum(r.lost > 0 for r in rows)
    if not cut:
        return None
    asks = cut - sum(r.cut == r.lost > 0 for r in rows)
    return (
        f"{cut:,} of {len(rows):,} texts are longer than {limit} tokens and were cut: "
        f"{asks:,} lost the beginning of their prompt, {lost:,} the end of their completion"
    )
