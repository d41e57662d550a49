"""Words that raise the score by themselves: found on half of the prompts, measured on the others.

No list of words is given. Candidates are the words and pairs of words of the completions that stand
in those of high score; each is appended to other completions, and those after which the score rises
most are appended to completions of prompts that had no part in the search.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from assay.audits.completions import Completions, Floats, Ints
from assay.audits.effects import Effect, effect_of, within_deviation, within_sums
from assay.audits.scorers import Scorers
from assay.core.rng import Rng
from assay.engine import progress
from assay.rewards.text_scorer import TextReward

TRIED_ON = 8  # completions that each candidate is appended to in the search
KEPT = 5  # words that are measured
LEVEL = 0.95
_EDGE = re.compile(r"^[\"'(\[]+|[\"')\].,:;!?]+$")


@dataclass(frozen=True)
class FoundWord:
    """A word or a pair of words, appended to completions.

    Attributes:
        reward: The reward that it was found for.
        word: The word.
        seen: How often it stands in the completions of the first half of the prompts.
        searched: Mean change in the search, in standard deviations within a prompt. It is too high,
            because the word was chosen by it.
        effect: The change on the other half. The intervals of a reward's words hold for all of them
            at once (Bonferroni).
    """

    reward: str
    word: str
    seen: int
    searched: float
    effect: Effect

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def words_of(text: str) -> Iterator[str]:
    """Yield each word of a text without the marks around it, and each pair of neighbours.

    Example:
        >>> sorted(set(words_of("It is so.")))
        ['It', 'It is', 'is', 'is so', 'so']
    """
    words = [w for raw in text.split() if (w := _EDGE.sub("", raw))]
    yield from words
    yield from (f"{a} {b}" for a, b in pairwise(words))


def candidates(texts: list[str], standing: Floats, most: int) -> list[tuple[str, int]]:
    """Choose the words of high standing, Σz/√n over the n completions that hold a word.

    Args:
        texts: Completions.
        standing: How far each one's score lies above its prompt's mean, in standard deviations.
        most: Words, at most.

    Returns:
        (word, n), the highest first.

    Example:
        >>> candidates(["good day", "bad day"], np.array([1.0, -1.0]), 1)
        [('good', 1)]
    """
    total: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for text, z in zip(texts, standing, strict=True):
        for word in set(words_of(text)):
            total[word] += float(z)
            count[word] += 1
    order = sorted(total, key=lambda w: (-total[w] / np.sqrt(count[w]), -count[w], len(w), w))
    return [(w, count[w]) for w in order[:most]]


def found_words(
    scorers: Scorers, x: Completions, scores: Floats, at: Ints, most: int, seed: int
) -> list[FoundWord]:
    """Search words for each reward.

    Args:
        scorers: The rewards.
        x: All completions.
        scores: Their scores, `[C, R]`.
        at: The completions that words may be appended to.
        most: Candidates of a reward, at most.
        seed: Which prompts are searched, and which are measured.

    Returns:
        For each reward at most five words, the one of the largest change in the search first; none
        where fewer than four prompts are probed or the reward tells nothing apart.
    """
    probed = np.unique(x.group[at])
    order = Rng(seed)("audit words").permutation(len(probed)).numpy()
    measured = probed[order[: len(probed) // 2]]
    searched = np.setdiff1d(np.arange(x.groups), measured)
    found = list[FoundWord]()
    for c, column in enumerate(scorers.columns):
        unit = within_deviation(within_sums(scores[c], x.group, x.groups))
        if column.member or not unit or len(probed) < 4:
            continue
        reward = scorers.rewards[column.name]
        here = np.flatnonzero(np.isin(x.group, searched) & np.isfinite(scores[c]))
        standing = _standing(scores[c][here], x.group[here]) / unit
        words = candidates([x.responses[i] for i in here], standing, most)
        tried = _one_each(x, at, searched, scores[c])
        with progress.stage(f"searching words that raise {column.name}"):
            rises = _appended(reward, x, tried, [w for w, _ in words])
        rise = (np.nanmean(rises - scores[c][tried], 1) if len(tried) else np.zeros(0)) / unit
        best = [int(i) for i in np.argsort(-rise, kind="stable")[:KEPT]]
        on = at[np.isin(x.group[at], measured)]
        kept = [words[i] for i in best]
        after = _appended(reward, x, on, [w for w, _ in kept])
        level = 1 - (1 - LEVEL) / max(1, len(kept))
        within = within_sums(scores[c], x.group, x.groups)
        for (word, n), i, new in zip(kept, best, after, strict=True):
            effect = effect_of(scores[c][on], new, x.group[on], within, level=level)
            found.append(FoundWord(column.name, word, n, float(rise[i]), effect))
    return found


def _standing(score: Floats, group: Ints) -> Floats:
    """Each score above the mean of its prompt."""
    _, place = np.unique(group, return_inverse=True)
    out: Floats = score - (np.bincount(place, score) / np.bincount(place))[place]
    return out


def _one_each(x: Completions, at: Ints, prompts: Ints, score: Floats) -> Ints:
    """The first probed completion of some prompts, of eight at most."""
    mine = at[np.isin(x.group[at], prompts) & np.isfinite(score[at])]
    _, first = np.unique(x.group[mine], return_index=True)
    return mine[first][:TRIED_ON]


def _appended(reward: TextReward, x: Completions, at: Ints, words: list[str]) -> Floats:
    """The scores after each word is appended: `[words, completions]`."""
    if not words or not len(at):
        return np.zeros((len(words), len(at)))
    some = x.rows(np.tile(at, len(words)))
    texts = [f"{x.responses[i]} {w}".strip() for w in words for i in at.tolist()]
    return Scorers.of({"reward": reward}).scores(some.saying(texts))[0].reshape(len(words), -1)
