"""A transformers tokenizer as a vocabulary, with the special tokens where they belong.

A prompt is a text, or turns of a conversation put together by the tokenizer's chat template, which
writes its own BOS: the tokenizer must not add a second one. A completion is its own tokens and the
token that ends it. Both are encoded as text, see `text_encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.data.turns import Turns
from assay.errors import InputError
from assay.models.padding import padded_completions, padded_prompts
from assay.models.text_encoder import PromptText, Templated, TextEncoder

Completion = tuple[list[int], list[bool]]  # ids, and whether the policy decides each


class Tokens:
    """The token ids of one tokenizer and model.

    Args:
        tokenizer: Of transformers.
        size: Tokens of the model; its table is often longer than the tokenizer's.
        ends: Every id that ends a completion, the first of them written by `completions`; the
            tokenizer's end-of-text token by default.

    Attributes:
        barred: Ids of probability 0: padding and BOS, unless they are also an end, and those beyond
            the tokenizer's own.
        device: Where prompts and completions are made.
        pad: Fills the places that masks leave out; nothing reads it.
        text: Text and conversations to tokens; what people wrote never becomes a special token.

    Raises:
        InputError: The tokenizer has no end-of-text token, or more tokens than the model.
    """

    def __init__(self, tokenizer: Any, *, size: int, ends: Sequence[int] = ()):
        known = [
            int(e) for e in (*ends, *(() if ends else (tokenizer.eos_token_id,))) if e is not None
        ]
        if not known:
            raise InputError(
                f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no end-of-text "
                "token, and so no completion could end; give it an eos_token"
            )
        if len(tokenizer) > size:
            raise InputError(
                f"the tokenizer has {len(tokenizer)} tokens and its model {size}: they do not "
                "belong together; resize the model's embeddings, or give the tokenizer that was "
                "saved with it"
            )
        self.device = torch.device("cpu")
        self.tokenizer, self.size, self.ends = tokenizer, size, tuple(dict.fromkeys(known))
        self.text = TextEncoder(tokenizer)
        self.eos = self.ends[0]
        self.pad = self.eos if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
        special = {tokenizer.pad_token_id, tokenizer.bos_token_id} - {None, *self.ends}
        self.barred = tuple(sorted({*special, *range(len(tokenizer), size)}))

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        """Say whether ids mean the same: policies of one tokenizer are compared token by token."""
        return (
            isinstance(other, Tokens)
            and (self.size, self.ends) == (other.size, other.ends)
            and (
                self.tokenizer is other.tokenizer
                or self.tokenizer.get_vocab() == other.tokenizer.get_vocab()
            )
        )

    def __hash__(self) -> int:
        return hash((self.size, self.ends))

    def encode(self, ask: PromptText) -> list[int]:
        """Return a prompt's ids, with one BOS where the tokenizer has one, and no end.

        Raises:
            InputError: The prompt is a conversation that the tokenizer's chat template cannot
                write, or no tokenizer can read it.
        """
        ids = self.text.prompt(ask)
        if isinstance(ask, str) and not isinstance(ask, Templated):
            while len(ids) > 1 and ids[-1] in self.ends and ids[-1] != self.tokenizer.bos_token_id:
                # some tokenizers close every text; a completion would come after the end
                ids.pop()
        return ids or [
            self.eos if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        ]

    def completion(self, text: str, *, chat: bool = False) -> list[int]:
        """Return a completion's ids with the token that ends it, written once.

        Args:
            text: The completion.
            chat: Whether it follows what the chat template writes.

        Raises:
            InputError: No tokenizer can read the text.
        """
        ids = self.text.answer(text) if chat else self.text.content(text)
        if isinstance(text, Templated):
            end = next((i for i, t in enumerate(reversed(ids)) if t in self.ends), None)
            if end is not None and not self.decode(ids[len(ids) - end :]).strip():
                return ids[: len(ids) - end]
        return [*ids, self.eos]

    def reply(self, turns: Turns, reply: Turns, *, chat: bool) -> Completion:
        """Return a completion of several turns: its ids, and whether the assistant decides each.

        Args:
            turns: The prompt's conversation.
            reply: The completion's turns.
            chat: Whether the chat template writes them; they become a transcript otherwise.

        Raises:
            InputError: The chat template cannot write them turn after turn.
        """
        found = self.text.pieces(turns, reply, self.ends, chat=chat)
        if not found.ended:
            found.add([self.eos], own=True)
        return found.ids, found.own

    def decode(self, ids: Sequence[int]) -> str:
        """Decode without special tokens, exactly as the ids say: blanks are not tidied."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def prompts(self, asks: Sequence[PromptText], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """Encode prompts and pad them on the left.

        Args:
            asks: Texts or conversations.
            row: Which of the task's prompts each is; 0 … B−1 by default.
        """
        return self.padded([self.encode(a) for a in asks], row)

    def padded(self, ids: Sequence[Sequence[int]], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """Pad prompts that are encoded already."""
        return padded_prompts(ids, pad=self.pad, decode=self.decode, row=row).to(self.device)

    def completions(
        self, prompts: Prompts, texts: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32
    ) -> Samples:
        """Encode completions, each with its end, see padded_completions.

        Args:
            prompts: B prompts.
            texts: The texts of each prompt's completions.
            dtype: Of `logp`.
        """
        ids = [[self.completion(t) for t in row] for row in texts]
        return padded_completions(prompts, ids, pad=self.pad, dtype=dtype)

    def completed(
        self, prompts: Prompts, made: Sequence[Sequence[Completion]], dtype: torch.dtype
    ) -> Samples:
        """Pad completions that are encoded already, with who decides their tokens.

        Args:
            prompts: B prompts.
            made: Each completion's ids, and whether the policy decides each.
            dtype: Of `logp`.
        """
        ids = [[one for one, _ in row] for row in made]
        own = [[mine for _, mine in row] for row in made]
        return padded_completions(prompts, ids, pad=self.pad, dtype=dtype, own=own)
