"""Words to numbers and back, for worlds that write in whole words. No file, no training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.errors import InputError
from assay.models.padding import padded_completions, padded_prompts

SPECIAL = ("<pad>", "<bos>", "<eos>")


class Vocabulary:
    """A word list. Ids 0, 1, 2 are padding, begin and end; then the words in their order.

    Args:
        words: Without blanks, each once.

    Raises:
        InputError: A word stands twice, or is not one plain word.
    """

    pad, bos, eos = 0, 1, 2
    ends, barred = (2,), (0, 1)  # what ends a completion; what is never drawn

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
        """Return the ids of a text's words, without begin and end.

        Raises:
            InputError: A word is unknown.
        """
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
        """Join the words of these ids with blanks, without padding, begin and end."""
        return " ".join(self.words[i] for i in ids if i >= len(SPECIAL))

    def prompts(self, texts: Sequence[str], row: Int[Tensor, "B"] | None = None) -> Prompts:
        """Encode texts as prompts: the begin token, then the words, padded on the left.

        Args:
            texts: Words with blanks between them.
            row: Which of the task's prompts each is; 0 … B−1 by default.
        """
        ids = [[self.bos, *self.encode(t)] for t in texts]
        return padded_prompts(ids, pad=self.pad, decode=self.decode, row=row)

    def completions(
        self, prompts: Prompts, texts: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32
    ) -> Samples:
        """Encode completions: the words and the end token, see padded_completions.

        Args:
            prompts: B prompts.
            texts: The texts of each prompt's completions.
            dtype: Of `logp`.
        """
        ids = [[[*self.encode(t), self.eos] for t in row] for row in texts]
        return padded_completions(prompts, ids, pad=self.pad, dtype=dtype)
