"""Which rows of a file say the same, in 32 bytes a row: hashes of texts, compared once the file has
been read.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray


class Seen:
    """64-bit hashes of each row's texts, in the file's order. Python's own hash: keyed, new in
    every process, hence never written down. Two texts of a million collide with chance 3e-8.
    """

    def __init__(self) -> None:
        self.rows, self.asked, self.said, self.turned = (array("q") for _ in range(4))

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: int, texts: tuple[str, ...], *, comparison: bool) -> None:
        """A row's texts, the prompt first; `comparison`: the last two are answers that were set
        against each other.
        """
        self.rows.append(row)
        self.asked.append(hash(texts[0]))
        self.said.append(hash(texts))
        if comparison:
            self.turned.append(hash((texts[0], texts[2], texts[1])))

    def repeats(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows whose texts an earlier row has, and rows of which an earlier one has the same
        answers the other way round.
        """
        rows, said, turned = (
            np.frombuffer(a, np.int64) for a in (self.rows, self.said, self.turned)
        )
        distinct, first, which = np.unique(said, return_index=True, return_inverse=True)
        again = first[which] < np.arange(len(said))
        if not len(turned):
            return rows[again], rows[:0]
        del which
        at = np.searchsorted(distinct, turned).clip(max=len(distinct) - 1)
        against = ~again & (distinct[at] == turned) & (first[at] < np.arange(len(said)))
        return rows[again], rows[against]

    def groups(self) -> NDArray[np.int64]:
        """How many rows each distinct prompt has."""
        counts: NDArray[np.int64] = np.unique(
            np.frombuffer(self.asked, np.int64), return_counts=True
        )[1]
        return counts

    def prompts(self) -> NDArray[np.int64]:
        """The distinct prompts' hashes, ascending."""
        return np.unique(np.frombuffer(self.asked, np.int64))
