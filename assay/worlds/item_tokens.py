"""The completions of pairs and demonstrations as a policy's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from assay.data.turns import Turn, Turns
from assay.errors import InputError
from assay.models.text_encoder import Templated
from assay.models.text_notes import as_written
from assay.models.tokenizer import Completion, Tokens
from assay.worlds.prompts import Items, PromptTable


@dataclass(frozen=True)
class ItemTokens:
    """Encodes the completions of items.

    Attributes:
        vocabulary: The policy's tokenizer.
        chat: Whether completions of several turns go through the chat template.
        templated: The parts of the rows that a chat template wrote already.
    """

    vocabulary: Tokens
    chat: bool
    templated: frozenset[str]

    def tokens(
        self, item: Any, parts: Sequence[str], turns: Turns | None, prompt: str
    ) -> list[Completion]:
        """Return an item's completions as tokens, with who decides each.

        Args:
            item: A Pair or a Demo.
            parts: The names of its completions.
            turns: The prompt's conversation; None where it is plain text.
            prompt: The prompt's text.

        Raises:
            InputError: The tokenizer or its chat template cannot write a completion.
        """
        replies = (item.replies if len(parts) == 2 else (item.reply,)) or (None, None)
        opened = self._opened(turns, prompt)
        out = list[Completion]()
        for part, reply in zip(parts, replies, strict=True):
            if reply is None or part in self.templated:
                text = as_written(getattr(item, part), part, self.templated)
                if opened and not isinstance(text, Templated):
                    text = self.vocabulary.text.chat.after_opening(text)
                out.append(self._decided(self.vocabulary.completion(text, chat=opened), prompt))
            else:
                asked = turns or (Turn("user", prompt),)
                out.append(self.vocabulary.reply(asked, reply, chat=self.chat))
        return out

    def _opened(self, turns: Turns | None, prompt: str) -> bool:
        """Whether the chat template's generation prompt ends this prompt."""
        begun = turns is not None and turns[-1].role == "assistant"  # what it says goes on there
        written = self.chat and bool(self.vocabulary.text.chat.source)
        return written and bool(prompt) and not begun and not isinstance(prompt, Templated)

    def _decided(self, ids: list[int], prompt: str) -> Completion:
        """Return a completion that is the policy's own from its first token to its last."""
        begins = self.vocabulary.tokenizer.bos_token_id
        if not prompt and begins is not None and ids[:1] == [begins]:
            ids = ids[1:]  # the prompt of a text without one is this token
        never = {*ids}.intersection(self.vocabulary.barred)
        if never:  # only a text with special tokens of its own has one
            name = self.vocabulary.tokenizer.convert_ids_to_tokens(min(never))
            raise InputError(
                f"a templated completion holds {name}, which has probability 0 in a completion; "
                "write what comes before the assistant's text into a column of prompts"
            )
        return ids, [True] * len(ids)

    def texts(
        self, items: Items, parts: Sequence[str], table: PromptTable
    ) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        """Yield each item's row, its prompt and its completions, as they are encoded.

        Args:
            items: (place of its prompt, item).
            parts: The names of an item's completions.
            table: The prompts.
        """
        for place, item in items:
            said = tuple(as_written(getattr(item, part), part, self.templated) for part in parts)
            yield item.row, table.texts[place], said
