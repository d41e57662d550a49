"""Text as numbers, without a model: counts of word and layout n-grams, hashed, and some fifty plain
measures of style.

Three blocks. *Words*: single tokens and neighbours, case kept. *Layout*: n-grams (1–5) of what is
left when every run of plain words is one sign, so that headings, lists, emphasis and punctuation
can be seen whatever the subject. *Style*: lengths, marks, variety, overlap with the prompt.
Counting is deterministic and knows nothing of other rows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

BITS = 18  # buckets an n-gram block: 2¹⁸
_WORD = re.compile(r"\w+|[^\w\s]|\n+")
_PIECE = re.compile(r"[^\W\d_]+|\d+|[ \t]+|\n|[^\w\s]|_")
_FENCE = re.compile(r"^\s*```", re.M)
_HEADING = re.compile(r"^\s*#", re.M)
_BULLET = re.compile(r"^\s*[-*•] ", re.M)
_NUMBERED = re.compile(r"^\s*\d+[.)]", re.M)
_FOREIGN, _PICTOGRAM = re.compile(r"[^\x00-\x7f]"), re.compile("[\u2600-\U0010ffff]")
_SENTENCE = re.compile(r"[.!?]+(?=\s|$)")
_MARKS = ("**", "`", "\n\n", "|", '"', "(", ":", ",", "?", "!", ";", "—", "'", "’", "  ")
STYLE = (
    "characters",
    "words",
    "lines",
    "sentences",
    "characters a word",
    "words a sentence",
    "distinct words",
    "distinct trigrams",
    "headings",
    "bullets",
    "numbered",
    "fences",
    "open fence",
    *(f"marks {m!r}" for m in _MARKS),
    "digits",
    "capitals",
    "not ASCII",
    "pictograms",
    "begins blank",
    "ends a sentence",
    "ends blank",
    "first line",
    "last line",
    "longest line",
    "empty",
    "prompt words used",
    "prompt words among all",
    "over 100 words",
    "over 300 words",
    "over 500 words",
)

U64 = NDArray[np.uint64]
_GOLDEN, _C1, _C2, _S = (
    np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 33)
)


@dataclass(frozen=True)
class Counted:
    """Rows of hashed counts in compressed form: row r holds `index[start[r]:start[r+1]]`,
    ascending, with `count` alike.
    """

    index: NDArray[np.int32]
    count: NDArray[np.float32]
    start: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start) - 1

    def rows(self, keep: NDArray[np.int64]) -> Counted:
        """Some rows, in the order given."""
        size = np.diff(self.start)[keep]
        start = np.concatenate([[0], np.cumsum(size)])
        place = np.arange(start[-1]) + np.repeat(self.start[keep] - start[:-1], size)
        return Counted(self.index[place], self.count[place], start)


@dataclass(frozen=True)
class Features:
    """Texts counted: words, layout, style. `rows` picks some of them."""

    words: Counted
    layout: Counted
    style: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.style)

    def rows(self, keep: NDArray[np.int64]) -> Features:
        """Some rows, in the order given."""
        return Features(self.words.rows(keep), self.layout.rows(keep), self.style[keep])


def features(prompts: Sequence[str], responses: Sequence[str]) -> Features:
    """Count every (prompt, response). A row's numbers depend on that row alone."""
    ids = _Ids()
    words, layout, measures = _Builder(), _Builder(), []
    both = zip(prompts, responses, strict=True)
    for prompt, text in tqdm(
        both, total=len(responses), desc="counting texts", disable=None, delay=2, leave=False
    ):
        words.add(grams(ids.of(_WORD.findall(text)), (1, 2)))
        layout.add(grams(ids.of(("<s>", *skeleton(text), "</s>")), (1, 2, 3, 4, 5)))
        measures.append(style(prompt, text))
    return Features(
        words.done(),
        layout.done(),
        np.array(measures, np.float32).reshape(len(measures), len(STYLE)),
    )


class _Ids(dict[str, int]):
    """A token's 64 bits, the same on every machine and in every process; remembered."""

    def __missing__(self, token: str) -> int:
        raw = token.encode("utf-8", "surrogatepass")
        value = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")
        if len(self) < 2_000_000:
            self[token] = value
        return value

    def of(self, tokens: Iterable[str]) -> U64:
        return np.array([self[t] for t in tokens], np.uint64)


class _Builder:
    """Rows of n-grams to compressed rows of hashed counts."""

    def __init__(self) -> None:
        self.index: list[NDArray[np.int32]] = []
        self.count: list[NDArray[np.float32]] = []

    def add(self, hashed: U64) -> None:
        index, count = np.unique(
            (hashed & np.uint64((1 << BITS) - 1)).astype(np.int32), return_counts=True
        )
        self.index.append(index)
        self.count.append(count.astype(np.float32))

    def done(self) -> Counted:
        start = np.concatenate([[0], np.cumsum([len(i) for i in self.index])]).astype(np.int64)
        index, count = [np.zeros(0, np.int32), *self.index], [np.zeros(0, np.float32), *self.count]
        return Counted(np.concatenate(index), np.concatenate(count), start)


def _mixed(z: U64) -> U64:
    """MurmurHash3's finaliser (Appleby, 2011)."""
    z = (z ^ (z >> _S)) * _C1
    z = (z ^ (z >> _S)) * _C2
    return z ^ (z >> _S)


def grams(ids: U64, sizes: tuple[int, ...]) -> U64:
    """One hash for every n-gram of every size."""
    out = [np.zeros(0, np.uint64)]
    for k in sizes:
        n = len(ids) - k + 1
        if n > 0:
            z = _mixed(ids[:n] + np.uint64(k))
            for i in range(1, k):
                z = _mixed(z * _GOLDEN + ids[i : n + i])
            out.append(z)
    return np.concatenate(out)


def skeleton(text: str) -> Iterator[str]:
    """What a text looks like: lower-case words (a run of them) as w, Capitalised as W, CAPITALS as
    A, digits as 0, the rest as it is.
    """
    shapes = [_shape(t) for t in _PIECE.findall(text)]
    i, n = 0, len(shapes)
    while i < n:
        yield shapes[i]
        if shapes[i] == "w":
            while i + 2 < n and shapes[i + 1] == " " and shapes[i + 2] == "w":
                i += 2
        i += 1


def _shape(token: str) -> str:
    c = token[0]
    if c.isalpha():
        return "w" if token.islower() else "W" if c.isupper() and not token[1:].isupper() else "A"
    if c.isdigit():
        return "0" * min(len(token), 3)
    return " " * min(len(token), 4) if c in " \t" else token


def style(prompt: str, text: str) -> list[float]:
    """The measures of STYLE; counts by log(1 + count)."""
    words, lines = text.split(), text.split("\n")
    n, ends = len(words), max(1, len(_SENTENCE.findall(text)))
    bare = re.findall(r"\w+", text.lower())
    mine, asked = set(bare), set(re.findall(r"\w+", prompt.lower()))
    triples = set(zip(bare, bare[1:], bare[2:], strict=False))
    fences = len(_FENCE.findall(text))
    counts = [len(text), n, len(lines), ends]
    marks = [text.count(m) for m in _MARKS]
    kinds = [
        sum(map(str.isdigit, text)),
        sum(map(str.isupper, text)),
        len(_FOREIGN.findall(text)),
        len(_PICTOGRAM.findall(text)),
    ]
    tail = [len(lines[0]), len(lines[-1]), max(map(len, lines))]
    return [
        *map(np.log1p, counts),
        len(text) / max(n, 1),
        n / ends,
        len(mine) / max(len(bare), 1),
        len(triples) / max(len(bare) - 2, 1) if len(bare) > 2 else 1.0,
        *(np.log1p(len(p.findall(text))) for p in (_HEADING, _BULLET, _NUMBERED)),
        np.log1p(fences),
        float(fences % 2),
        *map(np.log1p, marks),
        *map(np.log1p, kinds),
        float(text[:1].isspace()),
        float(text[-1:] in tuple(".!?")),
        float(text[-1:].isspace()),
        *map(np.log1p, tail),
        float(not text.strip()),
        len(asked & mine) / max(len(asked), 1),
        len(asked & mine) / max(len(mine), 1),
        *(max(0, n - k) / 100 for k in (100, 300, 500)),
    ]
