"""The competitors, each as good as it honestly can be, R runs at once; all are monitors for
simulate.run.

fixed: a one-sided test of p = ½ at every look (or of the last 4 or 10 looks' labels together),
exact binomial, α shared among the looks. obrien_fleming: z of all labels so far against c·√(T/t), c
found by simulating p = ½. cusum: Page's CUSUM for one p1, its threshold found by simulating p = ½
over the whole run. Thresholds are found with other random numbers than any result uses, and the
calibrated rivals are told the number of labels of a run, which the betting detector is not.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

DOUBLE = torch.float64
CALIBRATION = 20_000


class _Plain:
    """Counts wins and labels a look; `margin`: the least win rate of the null."""

    def __init__(
        self, runs: int, *, each: int = 16, alpha: float = 0.05, looks: int = 100, null: float = 0.5
    ):
        self.each, self.alpha, self.looks, self.null = each, alpha, looks, null
        self.wins: list[Tensor] = []
        self.n: list[Tensor] = []
        self.runs = runs
        self.look = -1

    def begin(self, look: int) -> Tensor:
        self.look = look
        self.wins.append(torch.zeros(self.runs, dtype=DOUBLE))
        self.n.append(torch.zeros(self.runs, dtype=DOUBLE))
        return torch.full((self.runs,), self.each)

    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> None:
        self.wins[-1] = self.wins[-1] + torch.where(on, x, 0.0).sum(1)
        self.n[-1] = self.n[-1] + on.sum(1)

    def alarm(self) -> Tensor:
        raise NotImplementedError


class Fixed(_Plain):
    """Exact binomial test of the last `window` looks at level α/looks, once a look is complete."""

    def __init__(self, runs: int, *, window: int = 1, **more: float):
        super().__init__(runs, **more)  # type: ignore[arg-type]
        self.window = window

    def alarm(self) -> Tensor:
        if float(self.n[-1].max()) < self.each:
            return torch.zeros(self.runs, dtype=torch.bool)
        wins = torch.stack(self.wins[-self.window :]).sum(0)
        n = int(torch.stack(self.n[-self.window :]).sum(0).max())
        return wins <= _critical(n, self.alpha / self.looks, self.null)


@lru_cache(maxsize=4096)
def _critical(n: int, level: float, null: float) -> float:
    """The most wins of n at which P(Binomial(n, null) ≤ wins) ≤ level; −1 where there is none. Ties
    count ½: conservative.
    """
    k = torch.arange(n + 1, dtype=DOUBLE)
    logs = (
        torch.lgamma(torch.tensor(n + 1.0, dtype=DOUBLE))
        - torch.lgamma(k + 1)
        - torch.lgamma(n - k + 1)
    )
    law = (logs + k * math.log(null) + (n - k) * math.log1p(-null)).exp().cumsum(0)
    return float((law <= level).sum()) - 1


class OBrienFleming(_Plain):
    """(n·m − wins)/√(n·m(1 − m)) ≥ c·√(looks/t) after each complete look t."""

    def __init__(self, runs: int, **more: float):
        super().__init__(runs, **more)  # type: ignore[arg-type]
        self.c = _obrien_fleming(self.each, self.looks, self.alpha, self.null)
        self.total = torch.zeros(runs, dtype=DOUBLE)

    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> None:
        super().feed(x, u, w, on)
        self.total = self.total + torch.where(on, self.null - x, 0.0).sum(1)

    def alarm(self) -> Tensor:
        t = self.look + 1
        if float(self.n[-1].max()) < self.each:
            return torch.zeros(self.runs, dtype=torch.bool)
        z = self.total / math.sqrt(self.each * t * self.null * (1 - self.null))
        return z > self.c * math.sqrt(self.looks / min(t, self.looks))


@lru_cache(maxsize=64)
def _obrien_fleming(each: int, looks: int, alpha: float, null: float) -> float:
    """c with P(any alarm in `looks` looks | p = null) = α on CALIBRATION simulated runs."""
    g = torch.Generator().manual_seed(71)
    lost = sum(
        (torch.rand(CALIBRATION, looks, generator=g) >= null).to(DOUBLE) for _ in range(each)
    )
    steps = lost - each * (1 - null)
    t = torch.arange(1, looks + 1, dtype=DOUBLE)
    z = steps.cumsum(1) / (each * t * null * (1 - null)).sqrt() / (looks / t).sqrt()
    return float(z.amax(1).quantile(1 - alpha, interpolation="higher"))


class Cusum(_Plain):
    """Page: C ← max(C, 0) + log LR(p1 : null) after every label; alarm above h, from CALIBRATION
    runs at the null.
    """

    def __init__(self, runs: int, *, p1: float = 0.40, **more: float):
        super().__init__(runs, **more)  # type: ignore[arg-type]
        self.win, self.lose = math.log(p1 / self.null), math.log((1 - p1) / (1 - self.null))
        self.h = _cusum(self.win, self.lose, self.each * self.looks, self.alpha, self.null)
        self.c = torch.zeros(runs, dtype=DOUBLE)

    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> None:
        super().feed(x, u, w, on)
        step = x * self.win + (1 - x) * self.lose
        for i in range(step.shape[1]):
            self.c = torch.where(on[:, i], self.c.clamp(min=0) + step[:, i], self.c)

    def alarm(self) -> Tensor:
        return self.c > self.h


@lru_cache(maxsize=64)
def _cusum(win: float, lose: float, n: int, alpha: float, null: float) -> float:
    g = torch.Generator().manual_seed(72)
    c, top = torch.zeros(CALIBRATION, dtype=DOUBLE), torch.zeros(CALIBRATION, dtype=DOUBLE)
    for _ in range(n):
        x = torch.rand(CALIBRATION, generator=g) < null
        c = c.clamp(min=0) + torch.where(x, win, lose)
        top = torch.maximum(top, c)
    return float(top.quantile(1 - alpha, interpolation="higher"))


MAKERS = {
    "fixed-sample, Bonferroni, each look": lambda runs, **k: Fixed(runs, window=1, **k),
    "fixed-sample, Bonferroni, last 4 looks": lambda runs, **k: Fixed(runs, window=4, **k),
    "fixed-sample, Bonferroni, last 10 looks": lambda runs, **k: Fixed(runs, window=10, **k),
    "group-sequential, O'Brien–Fleming": lambda runs, **k: OBrienFleming(runs, **k),
    "CUSUM, p1 = .40, calibrated": lambda runs, **k: Cusum(runs, p1=0.40, **k),
    "CUSUM, p1 = .25, calibrated": lambda runs, **k: Cusum(runs, p1=0.25, **k),
}
