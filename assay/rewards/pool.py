"""A checked file as a reward is fitted to it: texts, the prompts that group them, their labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core.rng import Rng
from assay.data import Scan, within
from assay.data.turns import Turns
from assay.errors import InputError
from assay.models.text_notes import as_written, parts_templated


@dataclass(frozen=True)
class Pool:
    """R texts of G prompts, with `score` (scored responses) or `pairs` (chosen and rejected).

    Attributes:
        prompts: The prompt of each text.
        responses: The texts.
        turns: The conversation of each prompt, or None where it is plain text.
        row: The file's row of each text; both texts of a pair have the same.
        group: The prompt of each text, from 0 to G−1.
        groups: The number of prompts G.
        score: The score of each text.
        pairs: The texts of each pair, chosen first.
        p: The probability that the chosen one is preferred.
        margin: What the score difference must exceed.
        replies: The turns of each completion that is more than the assistant's plain text.
        file: The file's name, for messages.
    """

    prompts: list[str]
    responses: list[str]
    turns: list[Turns | None]
    row: Int[Tensor, "R"]
    group: Int[Tensor, "R"]
    groups: int
    score: Float[Tensor, "R"] | None = None
    pairs: Int[Tensor, "B 2"] | None = None
    p: Float[Tensor, "B"] | None = None
    margin: Float[Tensor, "B"] | None = None
    replies: list[Turns | None] | None = None
    file: str = ""

    def __len__(self) -> int:
        return len(self.responses)

    @classmethod
    def of(cls, found: Scan, templated: Sequence[str] = ()) -> Pool:
        """Make a pool of the items of a checked file.

        Args:
            found: The file.
            templated: The parts that a chat template wrote already, see `parts_templated`.
        """
        items, parts = found.items, parts_templated(templated)
        name = found.source.name
        if found.layout.kind in ("pairs", "choices"):
            asks = [as_written(x.prompt, "prompt", parts) for x in items for _ in range(2)]
            group, names = within(asks)
            at = torch.arange(2 * len(items)).view(-1, 2)
            both = ("chosen", "rejected")
            return cls(
                asks,
                [as_written(getattr(x, part), part, parts) for x in items for part in both],
                [x.turns for x in items for _ in range(2)],
                torch.tensor([x.row for x in items for _ in range(2)]),
                torch.tensor(group),
                len(names),
                pairs=at,
                p=torch.tensor([x.p for x in items]),
                margin=torch.tensor([x.margin for x in items]),
                replies=[t for x in items for t in (x.replies or (None, None))],
                file=name,
            )
        asks = [as_written(x.prompt, "prompt", parts) for x in items]
        group, names = within(asks)
        return cls(
            asks,
            [as_written(x.response, "completion", parts) for x in items],
            [x.turns for x in items],
            torch.tensor([x.row for x in items]),
            torch.tensor(group),
            len(names),
            score=torch.tensor([x.score for x in items], dtype=torch.float64),
            replies=[x.reply for x in items],
            file=name,
        )

    def places(self) -> list[str]:
        """Return what messages call each text: its file and row."""
        return [f"{self.file}, row {row}" for row in self.row.tolist()]

    def comparable(self, file: str, column: str) -> tuple[Pool, int]:
        """Leave out the prompts that have no two responses of different score.

        Args:
            file: The file's name, for the message.
            column: The score's column, for the message.

        Returns:
            (the other prompts, how many were left out).

        Raises:
            InputError: No prompt is left.
        """
        if self.score is None:
            return self, 0
        least, most = (
            self.score.new_full((self.groups,), fill).scatter_reduce(0, self.group, self.score, how)
            for fill, how in ((math.inf, "amin"), (-math.inf, "amax"))
        )
        good = most > least
        if not bool(good.any()):
            raise InputError(
                f"{file}, column '{column}': no prompt has two completions with different "
                f"scores, so nothing can be compared ({self.groups:,} prompts, {len(self):,} "
                "rows); a reward is fitted within prompts: give several scored responses a prompt"
            )
        return self.of_groups(good), int((~good).sum())

    def of_groups(self, good: Tensor) -> Pool:
        """Select some prompts and number them anew.

        Args:
            good: Whether each prompt is selected, `[G]`.
        """
        return self._of(good[self.group])

    def without(self, pairs: Tensor) -> Pool:
        """Leave out some pairs, and the prompts that have no others.

        Args:
            pairs: Whether each pair is left out, `[B]`.
        """
        return self._of(self.kept(pairs))

    def kept(self, pairs: Tensor) -> Tensor:
        """Return whether each text is of none of these pairs, `[R]`.

        Args:
            pairs: Whether each pair is left out, `[B]`.
        """
        assert self.pairs is not None
        keep = torch.ones(len(self), dtype=torch.bool)
        keep[self.pairs[pairs].flatten()] = False
        return keep

    def _of(self, keep: Tensor) -> Pool:
        """Select some texts, both of a pair or neither, and number their prompts anew."""
        rows = keep.nonzero()[:, 0]
        at = rows.tolist()
        good = torch.zeros(self.groups, dtype=torch.bool)
        good[self.group[rows]] = True
        pairs = p = margin = None
        if self.pairs is not None:
            place = torch.full((len(self),), -1)
            place[rows] = torch.arange(len(rows))
            here = keep[self.pairs[:, 0]]
            pairs = place[self.pairs[here]]
            p, margin = (None if x is None else x[here] for x in (self.p, self.margin))
        return replace(
            self,
            prompts=[self.prompts[i] for i in at],
            responses=[self.responses[i] for i in at],
            turns=[self.turns[i] for i in at],
            row=self.row[rows],
            group=(good.long().cumsum(0) - 1)[self.group[rows]],
            groups=int(good.sum()),
            score=None if self.score is None else self.score[rows],
            pairs=pairs,
            p=p,
            margin=margin,
            replies=None if self.replies is None else [self.replies[i] for i in at],
        )

    def unseen(self, prompts: Collection[str]) -> Tensor:
        """Return whether each prompt is none of these, `[G]`.

        Args:
            prompts: Prompts that were seen before.
        """
        new = torch.ones(self.groups, dtype=torch.bool)
        for prompt, g in zip(self.prompts, self.group.tolist(), strict=True):
            new[g] = prompt not in prompts
        return new

    def folds(self, k: int, rng: Rng) -> Int[Tensor, "R"]:
        """Draw each row's fold, by prompt; folds differ by at most one prompt."""
        place = torch.empty(self.groups, dtype=torch.int64)
        place[rng("folds").permutation(self.groups)] = torch.arange(self.groups) % k
        return place[self.group]


def comparisons(pool: Pool, rows: Int[Tensor, "r"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the pairs whose texts are both among `rows`.

    Args:
        pool: A pool of pairs.
        rows: Some of its texts.

    Returns:
        (the pairs as places within `rows`, their p, their margin, their prompt).
    """
    assert pool.pairs is not None and pool.p is not None and pool.margin is not None
    place = torch.full((len(pool),), -1)
    place[rows] = torch.arange(len(rows))
    at = place[pool.pairs]
    here = (at >= 0).all(1)
    return at[here], pool.p[here], pool.margin[here], pool.group[pool.pairs[here, 0]]


def compared(pool: Pool) -> tuple[Any, Any, Any, int]:
    """Compare the texts of a pool.

    Args:
        pool: Pairs, or scored responses: within a prompt all of different score are compared, and
            each prompt has the weight 1.

    Returns:
        (better and worse text of each comparison `[n, 2]`, the probability that the better one is
        preferred, its weight, the pairs that were left out because they prefer neither).
    """
    if pool.pairs is not None:
        assert pool.p is not None
        told = pool.p != 0.5
        p = pool.p[told].double().numpy()
        return pool.pairs[told].numpy(), p, np.ones(len(p)), int((~told).sum())
    assert pool.score is not None
    order = torch.argsort(pool.group, stable=True)
    parts, weights = [], []
    for rows in order.split(torch.bincount(pool.group, minlength=pool.groups).tolist()):
        y = pool.score[rows]
        better = rows[(y[:, None] > y).nonzero()]
        parts.append(better)
        weights.append(np.full(len(better), 1 / max(1, len(better))))
    at = torch.cat(parts).numpy()
    return at, np.ones(len(at)), np.concatenate(weights), 0
