"""Text and conversations to tokens, for policies and reward models alike.

What people wrote is encoded as text: a special token that stands written out in it becomes ordinary
characters. Only a chat template's own marks are special tokens, and those of a `Templated` text.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from assay.data.turns import Turn, Turns
from assay.errors import InputError
from assay.models.chat import NOTHING, Chat, Hidden
from assay.models.given_turns import Pieces, template_pieces, transcript_pieces
from assay.models.marks import whole


class Templated(str):
    """A text that a chat template wrote already: its special tokens are special tokens.

    Example:
        >>> Templated("<|im_start|>user") == "<|im_start|>user"
        True
    """

    __slots__ = ()


PromptText = str | Turns  # a text, or a conversation


class TextEncoder:
    """Encodes by one tokenizer.

    Args:
        tokenizer: Of transformers.

    Attributes:
        chat: Its chat template.
        marks: Its special tokens.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer, self.chat = tokenizer, Chat(tokenizer)
        self.marks = self.chat.marks

    def content(self, text: str) -> list[int]:
        """Encode what somebody said: no BOS, no end.

        Raises:
            InputError: No tokenizer can read the text, or not as text.
        """
        if isinstance(text, Templated):
            return self._ids(text)
        if self.marks.first(text) is None:
            ids = self._ids(text)
            if self.marks.barred.isdisjoint(ids):
                return ids
        return self.marks.as_text(text)

    def prompt(self, ask: PromptText) -> list[int]:
        """Encode a prompt with one BOS, where the tokenizer has one.

        A text gets what the tokenizer puts around a text; a conversation what its template writes.

        Raises:
            InputError: The template refuses the conversation, or no tokenizer can read the text.
        """
        if not isinstance(ask, str):
            hidden = self.chat.hidden(ask)
            text = self.chat.text(ask, hidden, open_=True)
            self.chat.note(ask, text, hidden)
            return self.rendered(text, hidden)
        before, after = self._around
        if isinstance(ask, Templated):
            ids = self._ids(ask)
            return ids if ids[: len(before)] == before else [*before, *ids]
        if self.marks.first(ask) is None:
            ids = self._ids(ask, special=True)
            inner = ids[len(before) : len(ids) - len(after)]
            if self.marks.barred.isdisjoint(inner):
                return ids
        return [*before, *self.marks.as_text(ask), *after]

    def answer(self, text: str) -> list[int]:
        """Encode what the assistant said, as it is encoded after the template's opening.

        Some tokenizers begin every text with a blank, and some templates write one there.

        Raises:
            InputError: No tokenizer can read the text, or not as text.
        """
        lead, after = self._lead
        if isinstance(text, Templated):
            return self.content(text)
        text = text if text[:1].isspace() else lead + text
        return self.joined(text) if after else self.content(text)

    def pieces(self, turns: Turns, reply: Turns, ends: Collection[int], *, chat: bool) -> Pieces:
        """Encode a completion of several turns, or of one with calls or reasoning.

        Args:
            turns: The prompt's conversation.
            reply: The completion's turns, the last of them the assistant's.
            ends: Ids that end a completion.
            chat: Whether the chat template is used; a transcript is written otherwise.

        Returns:
            The tokens after the prompt's, with who decides them.

        Raises:
            InputError: The template cannot write the conversation turn after turn.
        """
        if chat and self.chat.source:
            return template_pieces(self, turns, reply, ends)
        return transcript_pieces(self, reply)

    def rendered(self, text: str, hidden: Hidden = NOTHING) -> list[int]:
        """Encode what a template wrote, with what is hidden in it as characters.

        A tokenizer that normalizes text before it looks for its marks finds more of them than stand
        written out, such as full-width ones; these are characters too.
        """
        if not hidden.sign:
            ids = self._ids(text)
            if sum(i in self.marks.barred for i in ids) == self.marks.count(text):
                return ids
        return self.marks.between(text, hidden.sign, hidden.marks)

    def joined(self, text: str, hidden: Hidden | None = None) -> list[int]:
        """Encode what follows other text: without the blank that some tokenizers begin a text with.

        Args:
            text: The text.
            hidden: What is hidden in it, if a template wrote it.
        """

        def encode(text: str) -> list[int]:
            return self.content(text) if hidden is None else self.rendered(text, hidden)

        if not self._begins_blank:
            return encode(text) if text else []
        before, both = self._ids(":"), encode(":" + text)
        return both[len(before) :] if both[: len(before)] == before else encode(text)

    def two(self, first: str, second: str) -> Any:
        """Encode two texts without marks as the tokenizer's pair of sequences.

        Raises:
            InputError: No tokenizer can read one of them.
        """
        try:
            return self.tokenizer(first, second, add_special_tokens=True, verbose=False)
        except Exception:  # of several types, by tokenizer
            whole(first), whole(second)
            raise

    @functools.cached_property
    def around_two(self) -> tuple[list[int], list[int], list[int]]:
        """What the tokenizer puts before, between and after two texts."""
        full = list(self.two("a", "b")["input_ids"])
        places = list[tuple[int, int]]()
        for inner in (self._ids("a"), self._ids("b")):
            last = places[-1][1] if places else 0
            at = next(i for i in range(last, len(full)) if full[i : i + len(inner)] == inner)
            places.append((at, at + len(inner)))
        (a, b), (c, d) = places
        return full[:a], full[b:c], full[d:]

    @functools.cached_property
    def _begins_blank(self) -> bool:
        first = self._ids(":")
        return self._ids(":x")[len(first) :] != self._ids("x")

    @functools.cached_property
    def _lead(self) -> tuple[str, bool]:
        """The blank that an answer begins with, and whether it is encoded by `joined`; both are
        found by an answer that the template writes.
        """
        asked, said = (Turn("user", "a"),), "b"
        plain = "", False
        try:
            opening = self.chat.text(asked, NOTHING, open_=True)
            text = self.chat.text((*asked, Turn("assistant", said)), NOTHING)
        except InputError:  # it is told where a conversation of the data meets it
            return plain
        before, ids = self.rendered(opening), self.rendered(text)
        if not text.startswith(opening) or ids[: len(before)] != before:
            return plain
        for lead, after in (plain, ("", True), (" ", False), (" ", True)):
            found = self.joined(lead + said) if after else self.content(lead + said)
            if ids[len(before) :][: len(found)] == found:
                return lead, after
        return plain

    @functools.cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after a text."""
        inner, full = self._ids("a"), self._ids("a", special=True)
        spare = len(full) - len(inner)
        at = next((i for i in range(spare + 1) if full[i : i + len(inner)] == inner), 0)
        return full[:at], full[at + len(inner) :]

    def _ids(self, text: str, *, special: bool = False) -> list[int]:
        if not self.tokenizer.is_fast:
            whole(text)
        try:
            made = self.tokenizer(str(text), add_special_tokens=special, verbose=False)
            return list(made["input_ids"])
        except Exception:  # of several types, by tokenizer
            whole(text)
            raise
