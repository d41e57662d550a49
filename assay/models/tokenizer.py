"""A transformers tokenizer as a Vocabulary: what people wrote to ids and back, with the special
tokens where they belong.

A prompt is a text, or turns of a conversation put together by the tokenizer's chat template, which
writes its own BOS: the tokenizer must not add a second one. An answer is its own tokens and the
token that ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError

Ask = str | Sequence[tuple[str, str]]  # a text, or (role, content) turns


class Tokens:
    """The token ids of one tokenizer and model. `ends`: every id that ends an answer, the first of
    them written by `answers`.

    `barred`: ids that are never drawn: padding and BOS, unless they are also an end, and those
    beyond the tokenizer's own (a model's table is often longer). `device`: where prompts and
    answers are made. `pad` fills the places that masks leave out; nothing ever reads it.
    """

    def __init__(self, tokenizer: Any, *, size: int, ends: Sequence[int] = ()):
        known = [
            int(e) for e in (*ends, *(() if ends else (tokenizer.eos_token_id,))) if e is not None
        ]
        if not known:
            raise InputError(
                f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no end-of-text "
                "token, and so no answer could end; give it an eos_token"
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
        """Whether ids mean the same: two policies of one tokenizer can be compared token by token."""
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

    def encode(self, ask: Ask) -> list[int]:
        """A prompt's ids, with one BOS where the tokenizer has one, and no end."""
        if not isinstance(ask, str):
            return self._conversation(ask)
        ids = list(self.tokenizer(ask, add_special_tokens=True, verbose=False)["input_ids"])
        while len(ids) > 1 and ids[-1] in self.ends and ids[-1] != self.tokenizer.bos_token_id:
            # some tokenizers close every text; an answer that is to follow would come after the end
            ids.pop()
        return ids or [
            self.eos if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id
        ]

    def _conversation(self, turns: Sequence[tuple[str, str]]) -> list[int]:
        if not getattr(self.tokenizer, "chat_template", None):
            raise InputError(
                "these prompts are conversations, and the tokenizer has no chat template; give "
                "prompts that are text, or a tokenizer with a template"
            )
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as why:  # a template is a program, and raises what it likes
            raise InputError(
                "the chat template refuses a conversation of roles "
                f"{', '.join(r for r, _ in turns)} ({' '.join(str(why).split())[:100]})"
            ) from why
        for role, content in turns:
            if content.strip() and content.strip() not in text:
                raise InputError(
                    f"the chat template leaves out what the {role} said "
                    f"({content.strip()[:40]!r}): an answer to it would be an answer to something "
                    "else; use another template"
                )
        return self.plain(text)

    def plain(self, text: str) -> list[int]:
        """An answer's ids, as they are: no BOS, no end."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens, exactly as the ids say it: blanks are not tidied."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def prompts(self, asks: Sequence[Ask], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """Prompts padded on the left. `row` defaults to 0 … B−1."""
        return self.padded([self.encode(a) for a in asks], row)

    def padded(self, ids: Sequence[Sequence[int]], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """The same from ids."""
        P = max((len(i) for i in ids), default=1)
        tokens, mask = (
            torch.full((len(ids), P), self.pad),
            torch.zeros(len(ids), P, dtype=torch.bool),
        )
        for b, i in enumerate(ids):
            tokens[b, P - len(i) :], mask[b, P - len(i) :] = (
                torch.tensor(i, dtype=torch.int64),
                True,
            )
        row = torch.arange(len(ids)) if row is None else row
        return Prompts(tokens, mask, row, decode=self.decode).to(self.device)

    def answers(
        self, prompts: Prompts, texts: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32
    ) -> Samples:
        """Texts as answers to these prompts, each with its end, `logp` NaN. Missing answers of a
        prompt are absent.
        """
        if len(texts) != len(prompts):
            raise InputError(
                f"{len(prompts)} prompts and answers to {len(texts)}: give one list of answers for "
                "each prompt"
            )
        ids = [[[*self.plain(t), self.eos] for t in row] for row in texts]
        N, T = (
            max((len(r) for r in ids), default=0),
            max((len(a) for r in ids for a in r), default=1),
        )
        action = torch.full((len(ids), N, T), self.pad, dtype=torch.int64)
        mask = torch.zeros(len(ids), N, T, dtype=torch.bool)
        for b, row in enumerate(ids):
            for n, a in enumerate(row):
                action[b, n, : len(a)], mask[b, n, : len(a)] = (
                    torch.tensor(a, dtype=torch.int64),
                    True,
                )
        logp = torch.where(mask, torch.nan, torch.zeros((), dtype=dtype))
        return Samples(prompts, action, mask, torch.zeros_like(mask), logp, mask.any(-1)).to(
            prompts.tokens.device
        )
