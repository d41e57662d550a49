"""A transformers tokenizer as a vocabulary, with the special tokens where they belong.

A prompt is a text, or turns of a conversation put together by the tokenizer's chat template, which
writes its own BOS: the tokenizer must not add a second one. A completion is its own tokens and the
token that ends it.
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

PromptText = str | Turns  # a text, or a conversation


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
                write.
        """
        if not isinstance(ask, str):
            return self._conversation(ask)
        ids = list(self.tokenizer(ask, add_special_tokens=True, verbose=False)["input_ids"])
        while len(ids) > 1 and ids[-1] in self.ends and ids[-1] != self.tokenizer.bos_token_id:
            # some tokenizers close every text; a completion would come after the end
            ids.pop()
        return ids or [
            self.eos if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        ]

    def _conversation(self, turns: Turns) -> list[int]:
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError(
                "these prompts are conversations, and the tokenizer has no chat template; give "
                "prompts that are text, or a tokenizer with a template"
            )
        messages = [turn.message() for turn in turns]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as why:  # a template is a program, and raises what it likes
            raise InputError(
                "the chat template refuses a conversation of roles "
                f"{', '.join(t.role for t in turns)} ({' '.join(str(why).split())[:100]})"
            ) from why
        for role, content, _ in turns:
            if content.strip() and content.strip() not in text:
                raise InputError(
                    f"the chat template leaves out what the {role} said "
                    f"({content.strip()[:40]!r}), and completions would answer something else; use "
                    "another template"
                )
        return self.plain(text)

    def plain(self, text: str) -> list[int]:
        """Return a completion's ids, as they are: no BOS, no end."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

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
        ids = [[[*self.plain(t), self.eos] for t in row] for row in texts]
        return padded_completions(prompts, ids, pad=self.pad, dtype=dtype)
