"""Completions of several turns: what the assistant decides, and what others say in between."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from assay.data.turns import Turn, Turns, written
from assay.errors import InputError
from assay.models.chat import Hidden


@dataclass
class Pieces:
    """The tokens of a completion.

    Attributes:
        ids: The tokens.
        own: Whether the assistant decides each; the others are given to it.
        ended: Whether the last one is the token that ends a completion.
    """

    ids: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    ended: bool = False

    def add(self, ids: list[int], *, own: bool) -> None:
        """Append tokens."""
        self.ids += ids
        self.own += [own] * len(ids)


def template_pieces(encoder: Any, turns: Turns, reply: Turns, ends: Collection[int]) -> Pieces:
    """Encode a completion as the chat template writes it after its prompt.

    The whole conversation is written once. The assistant's turns begin in it where the conversation
    before them, opened for the assistant, ends; what it decides is what follows, up to the token
    that ends its turn.

    Args:
        encoder: A TextEncoder.
        turns: The prompt's conversation.
        reply: The completion's turns, the last of them the assistant's.
        ends: Ids that end a completion.

    Raises:
        InputError: The template writes earlier turns in another way when later ones follow.
    """
    chat, first = encoder.chat, len(turns)
    if reply[0].role != "assistant":
        raise InputError(
            f"a completion begins with what the {reply[0].role} said "
            f"({reply[0].content.strip()[:40]!r}), which no assistant decides; let it begin with "
            "the assistant's turn"
        )
    if turns and turns[-1].role == "assistant":  # it goes on with what it began
        first -= 1
        begun = Turn("assistant", turns[-1].content + reply[0].content, reply[0].more)
        whole = (*turns[:-1], begun, *reply[1:])
    else:
        whole = (*turns, *reply)
    hidden = chat.hidden(whole)
    text = chat.text(whole, hidden)
    chat.note(reply, text, hidden)
    mine = [i for i in range(first, len(whole)) if whole[i].role == "assistant"]
    starts = [_start(chat, turns if i == first else whole[:i], hidden, text) for i in mine]
    found = Pieces()
    for n, (i, start) in enumerate(zip(mine, starts, strict=True)):
        last = i == mine[-1]
        if last and not whole[i].more:
            said = reply[-1].content
            if chat.opens and text[:start].endswith(chat.opens):
                said = chat.after_opening(said)
            encode = encoder.content if i < len(turns) else encoder.answer
            found.add(encode(said), own=True)
            return found
        until = len(text) if last else starts[n + 1]
        closed = chat.text(whole[: i + 1], hidden)
        stop = len(closed) if text.startswith(closed) and start < len(closed) <= until else until
        ids = encoder.joined(text[start:stop], hidden)
        end = next((k + 1 for k, t in enumerate(ids) if t in ends), None)
        found.add(ids[:end], own=True)
        found.ended = last and end is not None
        if not last:
            found.add([] if end is None else ids[end:], own=False)
            found.add(encoder.joined(text[stop:until], hidden), own=False)
    return found


def _start(chat: Any, before: Turns, hidden: Hidden, text: str) -> int:
    """Return where the turn after these begins in a text: where what was written of them ends.

    A generation prompt may write more than stands before a turn that was said, such as `<think>`.
    """
    opening = chat.text(before, hidden, open_=True)
    if text.startswith(opening):
        return len(opening)
    same = next((i for i, (a, b) in enumerate(zip(opening, text)) if a != b), len(text))
    if before[-1].role == "assistant" or same < len(chat.text(before, hidden)):
        raise InputError(
            "the chat template writes earlier turns in another way when later ones follow "
            f"(after {opening[:same][-40:]!r}), so that completions of several turns cannot be "
            "told from their prompts; use another template"
        )
    return same


def transcript_pieces(encoder: Any, reply: Turns) -> Pieces:
    """Encode a completion as a transcript, whose other speakers are given.

    Args:
        encoder: A TextEncoder.
        reply: The completion's turns.
    """
    found = Pieces()
    for n, turn in enumerate(reply):
        said = written((turn,))
        encoder.chat.note((turn,), said, templated=False)
        if turn.role == "assistant" and n:
            found.add(encoder.joined("\n\nAssistant:"), own=False)
            found.add(encoder.joined(f" {said}"), own=True)
        elif turn.role == "assistant":
            found.add(encoder.content(said), own=True)
        else:  # a single turn of the user is written without its speaker
            name = "Human: " if turn.role == "user" else ""
            found.add(encoder.joined(f"\n\n{name}{said}"), own=False)
    return found
