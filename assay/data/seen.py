"""Find repeated rows and prompts of a file, with 32 bytes a row: hashes, compared at the end."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class Seen:
    """64-bit hashes of each row's texts, in the file's order.

    They are Python's own hashes, whose key is new in every process: they are never stored. Two
    texts of a million collide with probability 3e-8.
    """

    def __init__(self) -> None:
        self._rows, self._prompts, self._texts, self._swapped = (array("q") for _ in range(4))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: int, texts: tuple[str, ...], *, comparison: bool) -> None:
        """Add a row.

        Args:
            row: Its number.
            texts: Its texts, the prompt first.
            comparison: Whether the last two are completions that were compared.
        """
        self._rows.append(row)
        self._prompts.append(hash(texts[0]))
        self._texts.append(hash(texts))
        if comparison:
            self._swapped.append(hash((texts[0], texts[2], texts[1])))

    def repeats(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that repeat an earlier row, and rows that contradict one.

        Returns:
            Rows with the texts of an earlier row, and rows whose two completions an earlier row has
            in the opposite order.
        """
        rows, texts, swapped = (
            np.frombuffer(a, np.int64) for a in (self._rows, self._texts, self._swapped)
        )
        distinct, first, which = np.unique(texts, return_index=True, return_inverse=True)
        again = first[which] < np.arange(len(texts))
        if not len(swapped):
            return rows[again], rows[:0]
        del which
        at = np.searchsorted(distinct, swapped).clip(max=len(distinct) - 1)
        against = ~again & (distinct[at] == swapped) & (first[at] < np.arange(len(texts)))
        return rows[again], rows[against]

    def groups(self) -> NDArray[np.int64]:
        """How many rows each distinct prompt has."""
        counts: NDArray[np.int64] = np.unique(
            np.frombuffer(self._prompts, np.int64), return_counts=True
        )[1]
        return counts

    def prompts(self) -> NDArray[np.int64]:
        """The distinct prompts' hashes, ascending."""
        return np.unique(np.frombuffer(self._prompts, np.int64))
