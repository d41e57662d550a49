"""A file of scored responses, in words: pairs to fit, texts to pretrain on, a pool to choose from.

Real prompts, real responses and a score that was measured. Prompts are divided: those of the pool
give no text and no pair.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import InputError, Pairs, Rng, Samples
from assay.models.padding import padded_completions
from assay.models.vocabulary import Vocabulary
from assay.rewards.fit_labels import labels
from assay.rewards.pool import Pool
from assay.rewards.scaling_files import paired

RARE = "�"  # stands for every word that a vocabulary leaves out
ASKED = 32  # words of a prompt that are read
_WORDS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class ScoredTexts:
    """What a file of scored responses becomes.

    Attributes:
        pairs: Pairs of responses to one prompt, of higher and lower score. They are the text, too.
        pool: Responses to the prompts held out, as many for each.
        score: Of each response in the pool.
    """

    pairs: Pairs
    pool: Samples
    score: Float[Tensor, "B N"]


def scored_texts(
    path: str,
    column: str,
    rng: Rng,
    *,
    held_out: int,
    least: int,
    longest: int = 128,
    words: int = 2000,
    a_prompt: int = 16,
) -> ScoredTexts:
    """Read a file of scored responses.

    Args:
        path: Any file of scored responses that `assay fit` reads.
        column: The score's column.
        rng: The address of the division and of the pairs that are drawn.
        held_out: Prompts of the pool.
        least: Responses that each of them needs.
        longest: Words of a response that are read; a longer one has no end.
        words: The most common words outside the pool; all others are one word.
        a_prompt: Pairs of a training prompt.

    Raises:
        InputError: The file has pairs, or too few prompts or responses.
    """
    whole, _ = Pool.of(labels(path, score=column or None)).comparable(path, column)
    if whole.score is None:
        raise InputError(
            f"{path} has pairs, and --file takes scored responses, several a prompt: name the "
            "score's column by --score"
        )
    many = torch.bincount(whole.group, minlength=whole.groups) >= least
    if int(many.sum()) <= held_out:
        raise InputError(
            f"{path} has {int(many.sum())} prompts with {least} responses, and {held_out} are held "
            "out: lower --prompts or --most"
        )
    kept = whole.of_groups(many)
    held = torch.zeros(kept.groups, dtype=torch.bool)
    held[rng("held out").permutation(kept.groups)[:held_out]] = True
    train, test = paired(kept.of_groups(~held), rng, a_prompt), kept.of_groups(held)
    texts = dict.fromkeys([*train.prompts, *train.responses])
    counts = Counter(w for text in texts for w in _words(text) if w.split() == [w] != [RARE])
    common = [w for w, _ in counts.most_common(words)]
    vocabulary = Vocabulary([*common, RARE])
    assert train.pairs is not None and test.score is not None  # both were scored
    both = train.pairs.tolist()
    told = _completed(vocabulary, train, [a for a, _ in both], both, longest)
    own = {f.name: getattr(told, f.name) for f in fields(Samples)}
    rows = [(test.group == g).nonzero()[:, 0].tolist() for g in range(test.groups)]
    n = min(map(len, rows))
    rows = [r[:n] for r in rows]
    return ScoredTexts(
        Pairs(**own, p=torch.ones(len(both)), margin=torch.zeros(len(both))),
        _completed(vocabulary, test, [r[0] for r in rows], rows, longest),
        test.score[torch.tensor(rows)],
    )


def _completed(
    v: Vocabulary, pool: Pool, asks: Sequence[int], rows: Sequence[Sequence[int]], longest: int
) -> Samples:
    """Responses of some rows to the prompts of the rows `asks`."""

    def ids(text: str) -> list[int]:
        return [v.ids.get(w, v.ids[RARE]) for w in _words(text)]

    known = {r: ids(pool.responses[r]) for row in rows for r in row}
    cut = {r: [*x, v.eos] if len(x) <= longest else x[:longest] for r, x in known.items()}
    prompts = v.prompts(
        [v.decode(ids(pool.prompts[a])[:ASKED]) for a in asks], torch.arange(len(asks))
    )
    return padded_completions(prompts, [[cut[r] for r in row] for row in rows], pad=v.pad)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())
