"""The world's gold as a labeler: it reads the answers themselves and never errs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from assay.core import cat
from assay.errors import NotFinite
from assay.watch.labelers.questions import Answer, Question


class Gold:
    """`gold(samples) → [K,B,N]`; its first row decides which of the two is better, equal gold is a
    tie.
    """

    name, waits = "gold", False

    def __init__(self, gold: Callable[..., Tensor]):
        self.gold = gold

    def __call__(self, asked: Sequence[Question]) -> Iterator[Answer]:
        with torch.no_grad():
            value = self.gold(cat([q.drawn for q in asked]))[0].double()
        if not bool(torch.isfinite(value).all()):
            raise NotFinite(
                f"gold is not finite in {int((~torch.isfinite(value)).sum())} of the answers that "
                "the watch drew"
            )
        for q, (first, second) in zip(asked, value.tolist(), strict=True):
            yield Answer(q, 0.5 if first == second else float(first > second))
