"""Words to numbers and back, for worlds that write in whole words. No file, no training: the list
is the tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError

SPECIAL = ("<pad>", "<bos>", "<eos>")


class Vocabulary:
    """A word list. Ids 0, 1, 2 are padding, begin and end; then the words in their order, as blanks
    separate them.
    """

    pad, bos, eos = 0, 1, 2
    ends, barred = (2,), (0, 1)  # what ends an answer; what is never drawn

    def __init__(self, words: Sequence[str]):
        bad = [w for w in words if w in SPECIAL or len(w.split()) != 1 or w.split()[0] != w]
        if bad:
            raise InputError(f"the vocabulary holds {bad[0]!r}, which is not one plain word")
        if len(set(words)) != len(words):
            twice = next(w for i, w in enumerate(words) if w in words[:i])
            raise InputError(f"the vocabulary holds {twice!r} twice")
        self.words = (*SPECIAL, *words)
        self.ids = {w: i for i, w in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words; no begin and no end are added."""
        out = []
        for word in text.split():
            if word not in self.ids or word in SPECIAL:
                raise InputError(
                    f"the word {word[:40]!r} in {text[:50]!r} is none of the "
                    f"{len(self) - len(SPECIAL)} known"
                )
            out.append(self.ids[word])
        return out

    def decode(self, ids: Sequence[int]) -> str:
        """The words of these ids with blanks between them; padding, begin and end leave no trace."""
        return " ".join(self.words[i] for i in ids if i >= len(SPECIAL))

    def prompts(self, texts: Sequence[str], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """Texts as Prompts: the begin token, the words, padding on the left. `row` defaults to 0 …
        B−1.
        """
        ids = [[self.bos, *self.encode(t)] for t in texts]
        P = max((len(i) for i in ids), default=1)
        tokens = torch.tensor(
            [[self.pad] * (P - len(i)) + i for i in ids], dtype=torch.int64
        ).reshape(-1, P)
        mask = torch.tensor(
            [[False] * (P - len(i)) + [True] * len(i) for i in ids], dtype=torch.bool
        ).reshape(-1, P)
        return Prompts(
            tokens, mask, torch.arange(len(ids)) if row is None else row, decode=self.decode
        )

    def answers(
        self, prompts: Prompts, texts: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32
    ) -> Samples:
        """Texts as answers to these prompts: the words and the end token, every one ended, `logp`
        NaN (nobody knows).

        Where a prompt has fewer texts than another, the missing answers are absent.
        """
        if len(texts) != len(prompts):
            raise InputError(
                f"{len(prompts)} prompts and answers to {len(texts)}: give one list of answers for "
                "each prompt"
            )
        ids = [[[*self.encode(t), self.eos] for t in row] for row in texts]
        N = max((len(row) for row in ids), default=0)
        T = max((len(a) for row in ids for a in row), default=1)
        action = torch.full((len(ids), N, T), self.pad, dtype=torch.int64)
        mask = torch.zeros(len(ids), N, T, dtype=torch.bool)
        for b, row in enumerate(ids):
            for n, a in enumerate(row):
                action[b, n, : len(a)] = torch.tensor(a)
                mask[b, n, : len(a)] = True
        logp = torch.where(mask, torch.nan, torch.zeros((), dtype=dtype))
        samples = Samples(prompts, action, mask, torch.zeros_like(mask), logp, mask.any(-1))
        return samples.to(prompts.tokens.device)
