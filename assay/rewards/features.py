"""Text as numbers without a model: hashed n-grams of words and of layout, and measures of style.

Three blocks. *Words*: single tokens and neighbours, case kept. *Layout*: n-grams (1 to 5) of the
text after every run of plain words became one sign, so that headings, lists, emphasis and
punctuation are visible whatever the subject. *Style*: lengths, marks, variety, overlap with the
prompt. A row's numbers depend on that row alone, and are the same on every machine.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from assay.engine import progress

BITS = 18  # each n-gram block has 2¹⁸ buckets
WORD = r"\w+|[^\w\s]|\n+"
_AT_ONCE = 1024  # texts that are counted between two moves of the progress bar
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


@dataclass(frozen=True)
class Features:
    """Counted texts.

    Attributes:
        words: Counts of hashed word n-grams, sparse `[R, 2^BITS]`.
        layout: Counts of hashed layout n-grams, sparse `[R, 2^BITS]`.
        style: The measures named in `STYLE`, `[R, len(STYLE)]`.
    """

    words: sparse.csr_array
    layout: sparse.csr_array
    style: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.style)

    def rows(self, keep: NDArray[np.int64]) -> Features:
        """Select some rows, in the order given."""
        return Features(self.words[keep], self.layout[keep], self.style[keep])


def features(prompts: Sequence[str], responses: Sequence[str]) -> Features:
    """Count every (prompt, response).

    Args:
        prompts: R prompts; only the style block looks at them.
        responses: R responses.

    Returns:
        The three blocks, one row a response.
    """
    words, layout = _vectorizers()
    parts: list[Features] = []
    starts = range(0, max(1, len(responses)), _AT_ONCE)
    for i in progress.over(starts, "counting texts", "thousand texts"):
        some = [encodable(text) for text in responses[i : i + _AT_ONCE]]
        measures = [style(p, t) for p, t in zip(prompts[i : i + _AT_ONCE], some, strict=True)]
        parts.append(
            Features(
                _counted(words, some),
                _counted(layout, some),
                np.array(measures, np.float32).reshape(len(some), len(STYLE)),
            )
        )
    if len(parts) == 1:
        return parts[0]
    return Features(
        sparse.vstack([p.words for p in parts], format="csr"),
        sparse.vstack([p.layout for p in parts], format="csr"),
        np.concatenate([p.style for p in parts]),
    )


@functools.cache
def _vectorizers() -> tuple[Any, Any]:
    """Return scikit-learn's hashing vectorizers of words and of layout; they hold no state."""
    from sklearn.feature_extraction.text import HashingVectorizer

    plain = {
        "lowercase": False,
        "norm": None,
        "alternate_sign": False,
        "n_features": 1 << BITS,
        "dtype": np.float32,
    }
    words = HashingVectorizer(token_pattern=WORD, ngram_range=(1, 2), **plain)
    layout = HashingVectorizer(tokenizer=_layout, token_pattern=None, ngram_range=(1, 5), **plain)
    return words, layout


def _layout(text: str) -> list[str]:
    return ["<s>", *skeleton(text), "</s>"]


def _counted(vectorizer: Any, texts: Sequence[str]) -> sparse.csr_array:
    if not texts:  # scikit-learn refuses to transform nothing
        return sparse.csr_array((0, 1 << BITS), dtype=np.float32)
    counts = sparse.csr_array(vectorizer.transform(texts))
    counts.sort_indices()
    return counts


def encodable(text: str) -> str:
    """Replace lone surrogates, which JSON may hold and UTF-8 cannot, so that they can be hashed."""
    return text.encode("utf-8", "replace").decode("utf-8")


def skeleton(text: str) -> Iterator[str]:
    """Yield what a text looks like, token by token.

    A run of lower-case words becomes `w`, a Capitalised word `W`, CAPITALS `A`, digits `0` (up to
    three); blanks and punctuation stay.
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
    """Measure one response; the order is that of `STYLE`, and counts n enter as log(1 + n)."""
    words, lines = text.split(), text.split("\n")
    n, ends = len(words), max(1, len(_SENTENCE.findall(text)))
    bare = re.findall(r"\w+", text.lower())
    mine, asked = set(bare), set(re.findall(r"\w+", prompt.lower()))
    triples = set(zip(bare, bare[1:], bare[2:], strict=False))
    fences = len(_FENCE.findall(text))
    marks = [text.count(m) for m in _MARKS]
    kinds = [
        sum(map(str.isdigit, text)),
        sum(map(str.isupper, text)),
        len(_FOREIGN.findall(text)),
        len(_PICTOGRAM.findall(text)),
    ]
    return [
        *map(np.log1p, (len(text), n, len(lines), ends)),
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
        *map(np.log1p, (len(lines[0]), len(lines[-1]), max(map(len, lines)))),
        float(not text.strip()),
        len(asked & mine) / max(len(asked), 1),
        len(asked & mine) / max(len(mine), 1),
        *(max(0, n - k) / 100 for k in (100, 300, 500)),
    ]
