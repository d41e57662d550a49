"""Comparisons as blind questions: which of a group is labeled, and in which order it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from assay.core.rng import Rng
from assay.formulas.sequential import choice
from assay.watch.comparisons import Comparison
from assay.watch.labelers.questions import Question


def choose_in_groups(
    groups: Sequence[Sequence[Comparison]], uneven: bool, rng: Rng, at: int
) -> tuple[list[int], list[float]]:
    """Choose one comparison of each group to be labeled.

    Args:
        groups: Groups of one size K.
        uneven: Prefer comparisons on which the reward models disagree most; else choose evenly.
        rng: Draws the choice.
        at: The place of the first group within its look.

    Returns:
        For each group, the place of the chosen comparison in it, and its weight 1/(K·π).
    """
    uniform = rng.uniform(torch.arange(at, at + len(groups)), dtype=torch.float64)
    spread = torch.zeros(len(groups), len(groups[0]), dtype=torch.float64)
    if uneven:
        wins = [[c.win_probabilities for c in group] for group in groups]
        probabilities = torch.tensor(wins, dtype=torch.float64)
        if probabilities.shape[-1] > 1:
            spread = probabilities.std(-1)
    index, weight = choice(spread, uniform)
    return index.tolist(), weight.tolist()


def blinded(
    comparison: Comparison, swap: bool, who: str, step: int, place: tuple[int, ...]
) -> Question:
    """A comparison as a question that does not say whose completion is whose.

    Args:
        comparison: The comparison.
        swap: Whether the other policy's completion is shown first.
        who: Who asks.
        step: The present step.
        place: The question's place within the step.
    """
    c = comparison
    first, second = (c.other, c.completion) if swap else (c.completion, c.other)
    return Question(
        who=who,
        step=step,
        place=place,
        prompt=c.prompt,
        first=first,
        second=second,
        columns=c.columns,
        samples=c.swapped if swap else c.samples,
        messages=c.messages,
    )
