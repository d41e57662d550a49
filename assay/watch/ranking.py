"""Which checkpoint was the best, by all comparisons of a run together.

The best so far lags by the looks that it takes to show that a newer checkpoint is better. A curve
through all comparisons does not, and where the rise was smaller than labels can show, the shape of
the fall says where it began: see `assay.formulas.strengths`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from assay.core.rng import Rng
from assay.errors import InputError
from assay.formulas.strengths import Curves, best_kept, curves, informative, run_shares

# Of the curve. A chance's standard error is at most 0.011 where all draws weigh alike, and 0.019
# where the weights leave 700 of them: 0.019 was measured after 30 looks with an early peak.
DRAWS = 2000


class Ranking:
    """Counts of comparisons between the policies of looks; look −1 is the reference.

    Attributes:
        pairs: One line for each pair of looks: the look, the look it was compared with, labels, and
            the sum of outcomes.
        kl: KL from the reference in nats, by look, where it is known.
    """

    def __init__(self) -> None:
        self.pairs: list[list[float]] = []
        self.kl: dict[int, float] = {}

    def add(self, look: int, against: Sequence[int], won: Sequence[float], seen: int) -> None:
        """Count comparisons.

        Args:
            look: The look whose policy was compared.
            against: The look of the other policy, for each comparison.
            won: The outcome of each comparison, from 0 to 1.
            seen: The last look so far.

        Raises:
            InputError: A look is unknown, or the lengths differ.
        """
        if len(against) != len(won) or any(not -1 <= k <= seen for k in against):
            raise InputError(
                f"{len(won)} outcomes were compared with looks {list(against)[:5]}; name one of −1 "
                f"to {seen} for each"
            )
        for other, value in zip(against, won, strict=True):
            line = next((p for p in self.pairs[::-1] if p[:2] == [look, other]), None)
            if line is None:
                self.pairs.append(line := [float(look), float(other), 0.0, 0.0])
            line[2] += 1
            line[3] += value

    def best(self, among: Sequence[int] | None, seen: int) -> int:
        """The look whose policy was the best.

        Args:
            among: Looks to choose from; None for all.
            seen: The last look so far.

        Returns:
            A look; −1 for the reference.
        """
        curve, places = self._curve(among, seen)
        return best_kept(curve, places) - 1

    def next_pair(self, among: Sequence[int] | None, seen: int) -> tuple[int, int]:
        """The two looks whose comparison tells most about which is best; arguments as in `best`."""
        a, b = informative(*self._curve(among, seen))
        return a - 1, b - 1

    def _curve(self, among: Sequence[int] | None, seen: int) -> tuple[Curves, Tensor]:
        """The curve of all looks, and the places of those asked for."""
        looks = range(-1, seen + 1) if among is None else sorted(set(among))
        wrong = [k for k in looks if not -1 <= k <= seen]
        if wrong or not len(looks):
            raise InputError(
                f"the watch was asked for the best among looks {list(looks)[:5]} and has seen −1 "
                f"to {seen}; name some of these"
            )
        # sorted: the order in which labels came changes no bit of the sums
        t = torch.tensor(sorted(self.pairs), dtype=torch.float64).reshape(-1, 4)
        rows, columns = torch.arange(DRAWS)[:, None], torch.arange(seen + 1)
        normals = Rng(0)("curve").normal(rows, columns, dtype=torch.float64)
        a, b = t[:, 0].long() + 1, t[:, 1].long() + 1
        curve = curves(a, b, t[:, 2], t[:, 3], self._shares(seen), normals)
        return curve, torch.tensor(list(looks)) + 1

    def _shares(self, seen: int) -> Tensor:
        """Where the points lie: by √KL if every look's is known, else evenly."""
        away = [self.kl.get(look, math.nan) for look in range(seen + 1)]
        if not all(map(math.isfinite, away)):
            away = [0.0] * (seen + 1)
        return run_shares(torch.tensor([0.0, *away], dtype=torch.float64))
