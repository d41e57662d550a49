"""How prompts read: the one place that gives text, messages and columns to all who judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Turns of assay.data.turns, a folder further down: each has a `message()`.
Conversation = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class PromptTexts:
    """Decodes a world's tokens, and knows how its prompts read in the file that they come from.

    It stands as `Prompts.decode`. `Prompts.text()` is then the file's text and not what a chat
    template makes of it, so that reward functions, gold, labelers, people, LLM judges and the
    record all read the same. `Prompts.row` points into the sequences.

    Attributes:
        decode: Token ids to text.
        texts: Each prompt's text.
        turns: The conversation of each prompt; None where it is plain text.
        columns: The file's other columns by name, one value a prompt.
        encode: Encodes further prompts as the world encodes its own (with its chat template): texts
            and conversations to Prompts; None where the policy's own `encode` does.

    Example:
        >>> texts = PromptTexts(bytes.decode, ["2 + 2?"], [None], {"answer": ["4"]})
        >>> texts.columns_of([0]), texts.messages_of([0])
        ([{'answer': '4'}], [[{'role': 'user', 'content': '2 + 2?'}]])
    """

    decode: Callable[[Any], str]
    texts: Sequence[str]
    turns: Sequence[Conversation | None]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    encode: Callable[[Sequence[str], Sequence[Conversation | None]], Any] | None = None

    def __call__(self, ids: list[int]) -> str:
        """Decode token ids."""
        return self.decode(ids)

    def columns_of(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """The other columns of each of these prompts."""
        return [{name: cells[r] for name, cells in self.columns.items()} for r in rows]

    def messages_of(self, rows: Sequence[int]) -> list[list[dict[str, Any]]]:
        """Each of these prompts as messages; a plain text is one message of the user."""
        return [messages(self.texts[r], self.turns[r]) for r in rows]


def messages(text: str, turns: Conversation | None) -> list[dict[str, Any]]:
    """A prompt as a list of messages; a plain text is one message of the user.

    Args:
        text: The prompt's text.
        turns: Its conversation; None for plain text.
    """
    if turns is None:
        return [{"role": "user", "content": text}]
    return [turn.message() for turn in turns]
