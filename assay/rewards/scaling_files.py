"""Reward models fitted to growing parts of a preference file, and tested on prompts held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import InputError, Rng
from assay.formulas.pairwise import bradley_terry
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_folds import Fitter
from assay.rewards.fit_labels import labels
from assay.rewards.linear_solvers import Rows, linear_scores, validated_bradley_terry
from assay.rewards.pool import Pool
from assay.stats.intervals import interval

RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
TEST = 0.2  # the share of prompts that no model sees
LEAST = 50  # pairs of the smallest part


@dataclass(frozen=True)
class Tested:
    """A reward model's test.

    Attributes:
        pairs: Pairs that it was fitted to.
        loss: −log p(label) of test pairs, in nats.
        balanced: The same, where the pairs whose chosen completion is the longer one weigh as much
            as those whose rejected one is: length alone then predicts nothing.
        accuracy: The share of test pairs that it orders as labeled; ties count by half.
    """

    pairs: int
    loss: float
    balanced: float
    accuracy: float


def pool_of(path: str, score: str, rng: Rng, *, drop: bool = False, a_prompt: int = 16) -> Pool:
    """Read a file of pairs, or make pairs of scored responses.

    Args:
        path: Any preference file that `assay fit` reads.
        score: The column of scored responses; "" for pairs.
        rng: The address of pairs that are drawn.
        drop: Leave faulty rows out and count them, instead of refusing the file.
        a_prompt: Pairs of a prompt's scored responses; the better one is chosen.
    """
    found = labels(path, score=score or None, drop=drop)
    pool, _ = Pool.of(found).comparable(found.source.name, score)
    return pool if pool.score is None else paired(pool, rng, a_prompt)


def paired(pool: Pool, rng: Rng, a_prompt: int) -> Pool:
    """Make pairs of scored responses to one prompt; the one with the higher score is chosen.

    Args:
        pool: Scored responses.
        rng: The address of the pairs.
        a_prompt: Pairs a prompt; those of equal score are left out.
    """
    assert pool.score is not None
    order = torch.argsort(pool.group, stable=True)
    size = torch.bincount(pool.group, minlength=pool.groups)
    start = size.cumsum(0) - size
    here = torch.arange(pool.groups).repeat_interleave(a_prompt)
    draw, n = torch.arange(len(here)), size[here]
    a = (rng("first").uniform(draw, dtype=torch.float64) * n).long()
    b = (a + 1 + (rng("second").uniform(draw, dtype=torch.float64) * (n - 1)).long()) % n
    a, b = order[start[here] + a], order[start[here] + b]
    apart = pool.score[a] != pool.score[b]
    a, b = a[apart], b[apart]
    first = pool.score[a] > pool.score[b]
    pairs = torch.stack([torch.where(first, a, b), torch.where(first, b, a)], 1)
    one = torch.ones(len(pairs))
    return replace(pool, score=None, pairs=pairs, p=one, margin=torch.zeros(len(pairs)))


def sizes_of(pairs: int) -> list[int]:
    """Halve a number of pairs until fewer than 50 are left, smallest first.

    Raises:
        InputError: That gives fewer than five sizes.
    """
    sizes = [n for k in range(30) if (n := pairs >> k) >= LEAST][::-1]
    if len(sizes) < 5:
        raise InputError(
            f"{pairs} pairs are left to fit, and a curve needs {LEAST * 16} or more; give a longer "
            "file"
        )
    return sizes


class Split:
    """A division of a pool by prompt, and the pairs to fit in an order that prompts share.

    Args:
        pool: Pairs.
        rng: The division's address.

    Attributes:
        train: The pairs to fit, by index; pairs of a prompt follow one another.
        test: The pairs of prompts held out.
    """

    def __init__(self, pool: Pool, rng: Rng):
        assert pool.pairs is not None
        self.pool = pool
        place = torch.empty(pool.groups, dtype=torch.int64)
        place[rng("prompts").permutation(pool.groups)] = torch.arange(pool.groups)
        at = place[pool.group[pool.pairs[:, 0]]]
        order = torch.argsort(at, stable=True)
        held = at[order] < max(1, round(TEST * pool.groups))
        self.test, self.train = order[held], order[~held]

    def curve(self, x: Rows, sizes: Sequence[int]) -> Iterator[Tested]:
        """Fit linear reward models to the first pairs of `train`, nested, and test each.

        Args:
            x: Features of the pool's texts, a SciPy sparse array or a dense tensor of float32.
            sizes: Numbers of pairs, ascending.
        """
        pool = self.pool
        assert pool.pairs is not None and pool.p is not None and pool.margin is not None
        test = pool.pairs[self.test]
        for n in sizes:
            own = self.train[:n]
            rows, at = torch.unique(pool.pairs[own], return_inverse=True)
            some: Rows = x[rows] if isinstance(x, Tensor) else x[rows.numpy()]
            w, _ = validated_bradley_terry(
                some, at, p=pool.p[own], margin=pool.margin[own], ridges=RIDGES
            )
            score = linear_scores(x, w[:, None])[:, 0].double()
            gap = score[test[:, 0]] - score[test[:, 1]]
            loss = bradley_terry(gap, torch.zeros_like(gap), p=pool.p[self.test].double())
            right = (gap > 0).double() + 0.5 * (gap == 0).double()
            yield Tested(
                n,
                float(loss.mean()),
                float((loss * self._balance()).sum()),
                float(right.mean()),
            )

    def _balance(self) -> Float[Tensor, "b"]:
        """Weights of test pairs under which the longer completion is chosen half the time."""
        assert self.pool.pairs is not None
        length = torch.tensor([len(r) for r in self.pool.responses])
        two = length[self.pool.pairs[self.test]]
        kind = torch.sign(two[:, 0] - two[:, 1])
        share = torch.ones(len(kind), dtype=torch.float64) / len(kind)
        for sign in (1, -1):
            here = kind == sign
            if bool(here.any()) and bool((kind == -sign).any()):
                share[here] = float((kind != 0).sum()) / (2 * len(kind) * int(here.sum()))
        return share


def features_of(pool: Pool, encoder: str) -> Rows:
    """Turn a pool's texts into features.

    Args:
        pool: The texts.
        encoder: "words:4096" for counts of words hashed to so many places, else a transformers
            model (a folder or a name on the hub), frozen, its hidden states averaged over the
            completion.

    Raises:
        InputError: The encoder is neither.
    """
    if encoder.startswith("words:"):
        from sklearn.feature_extraction.text import HashingVectorizer

        width = encoder.removeprefix("words:")
        if not width.isdigit() or int(width) < 1:
            raise InputError(f"--encoders has '{encoder}'; give a width of 1 or more: words:4096")
        count = HashingVectorizer(
            n_features=int(width), norm=None, alternate_sign=False, lowercase=True
        )
        # a word that stands ten times is not ten times as telling
        return count.transform(pool.responses).astype("float32").log1p()
    from assay.rewards.fit_models import FrozenFitter

    found: Fitter = FrozenFitter(pool, FitConfig(base=encoder, frozen=True))
    if found.pool is not pool:
        raise InputError(
            f"{encoder} reads the two completions of some pairs as the same tokens; leave those "
            "pairs out of the file"
        )
    x: Tensor = found.features  # type: ignore[attr-defined]
    spread = x.std(0, correction=0)
    return (x - x.mean(0)) / torch.where(spread > 1e-6, spread, torch.ones_like(spread))


def over_splits(name: str, values: list[list[Any]]) -> dict[str, Any]:
    """Means over the splits and half-widths of their intervals; one number where there is one."""
    each = [interval([float(v) for v in column]) for column in zip(*values, strict=True)]
    mean, half = ([e[i] for e in each] for i in (0, 1))
    one = len(each) == 1
    return {name: mean[0] if one else mean, f"{name}_half_width": half[0] if one else half}
