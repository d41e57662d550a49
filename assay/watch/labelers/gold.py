"""The world's gold as a labeler: it reads the completions themselves and never errs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from assay.core import cat
from assay.errors import NotFinite
from assay.watch.labelers.questions import Label, Question


class GoldLabeler:
    """Labels by the first row of a world's gold; equal gold is a tie.

    Args:
        gold: `gold(samples) → [K,B,N]`.
    """

    name, waits = "gold", False

    def __init__(self, gold: Callable[..., Tensor]):
        self.gold = gold

    def __call__(self, questions: Sequence[Question]) -> Iterator[Label]:
        """Label all questions at once.

        Raises:
            NotFinite: Gold is NaN or infinite for some completion.
        """
        with torch.no_grad():
            value = self.gold(cat([q.samples for q in questions]))[0].double()
        if not bool(torch.isfinite(value).all()):
            raise NotFinite(
                f"gold is not finite in {int((~torch.isfinite(value)).sum())} of the completions "
                "that the watch sampled"
            )
        for q, (first, second) in zip(questions, value.tolist(), strict=True):
            yield Label(q, 0.5 if first == second else float(first > second))
