"""The best so far chosen by the very labels that are then held against it, on a plateau whose
checkpoints jitter.

A checkpoint's level is its win rate against an average one, less ½: level[t] = trend[t] +
sd·normal, so the run has not turned, and the best single one of a hundred is better than the rest
by 2.5 sd. The watch chooses as assay/watch/detector.py does: a CUSUM of the outcomes, bet upwards,
reaches `promote`; then the policies of the last `stretch` looks are the best so far, and each label
compares with one of them drawn for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from assay.formulas import sequential as seq
from assay.watch.config import WatchConfig
from assay.watch.detector import Schedule
from bench.watch.simulate import DOUBLE, Settings, Watch


def levels(runs: int, sd: float, rises: int, looks: int = 100, seed: int = 3) -> Tensor:
    """[R, 1 + looks], the reference first: a plateau from the start, or one reached from .3 below
    in `rises` looks.
    """
    g = torch.Generator().manual_seed(seed)
    trend = torch.cat([torch.linspace(-0.3, 0.0, rises + 1), torch.zeros(looks - rises)])
    noise = sd * torch.randn(runs, looks, generator=g)
    return (trend[-1 - looks :] if rises else torch.zeros(1 + looks)) + torch.cat(
        [torch.zeros(runs, 1), noise], 1
    )


def watched(
    level: Tensor, settings: Settings, *, stretch: int, promote: float = 10.0, seed: int = 37
) -> dict[str, Tensor]:
    """By run: whether an alarm went, labels spent, how often another was the best, and whether p ≥
    ½ − delta held at every look until then (p: the chance against one drawn from the best so far).
    """
    g = torch.Generator().manual_seed(seed)
    R, T = len(level), level.shape[1] - 1
    monitor = Watch(settings, R)
    lam = seq.bets(
        monitor.q,
        null=0.5,
        most=seq.largest_bet(torch.zeros((), dtype=DOUBLE), null=0.5, weight=1.0),
    )
    up = torch.zeros(R, len(lam), dtype=DOUBLE)
    first, last = (
        torch.zeros(R, dtype=torch.long),
        torch.zeros(R, dtype=torch.long),
    )  # the stretch, as columns of `level`
    live, held, changes = (
        torch.ones(R, dtype=torch.bool),
        torch.ones(R, dtype=torch.bool),
        torch.zeros(R),
    )
    sums = torch.cat([torch.zeros(R, 1), level.cumsum(1)], 1)
    for t in range(1, T + 1):
        wanted = torch.where(live, monitor.begin(t - 1), 0)
        L = int(wanted.max())
        if L == 0:
            break
        on, width = torch.arange(L) < wanted[:, None], last - first + 1
        mean = (sums.gather(1, last[:, None] + 1) - sums.gather(1, first[:, None]))[:, 0] / width
        held &= ~live | (level[:, t] - mean >= -settings.delta - 1e-6)
        other = first[:, None] + (torch.rand(R, L, generator=g) * width[:, None]).long()
        x = (
            torch.rand(R, L, generator=g)
            < (0.5 + level[:, t, None] - level.gather(1, other)).clamp(0.01, 0.99)
        ).to(DOUBLE)
        live &= ~(
            monitor.feed(x, torch.zeros_like(x), torch.ones_like(x), on)
            >= -math.log(settings.alpha)
        )
        pay = torch.where(on[:, None], seq.log_pays(1 - x, lam.expand(R, -1), null=0.5), 0.0).sum(
            -1
        )
        up = up.clamp(min=0) + pay
        rose = live & (torch.logsumexp(up, 1) - math.log(len(lam)) >= math.log(promote))
        first, last = torch.where(rose, max(1, t - stretch + 1), first), torch.where(rose, t, last)
        up, changes = torch.where(rose[:, None], 0.0, up), changes + rose
    return {"alarm": ~live, "spent": monitor.spent, "changes": changes, "held": held}


def all_of(
    runs: int, interval: Callable[[int, int], list[float]], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Shapes of run, sizes of jitter, single checkpoints and `WatchConfig`'s stretches,
    by margin.
    """
    rows = []
    for looks, rises in ((100, 0), (100, 20), (30, 0), (30, 6)):
        for sd in (0.0, 0.02, 0.04):
            level = levels(runs, sd, rises, looks)
            for stretch in (1, WatchConfig().stretch_length(looks)):
                row: dict[str, Any] = {"looks": looks, "sd": sd, "rises": rises, "stretch": stretch}
                for delta in (0.0, 0.01, 0.03):
                    settings = Settings(
                        delta=delta,
                        looks=looks,
                        schedule=Schedule(WatchConfig().labels_per_look(looks), 32, -1.0),
                    )
                    out = watched(level, settings, stretch=stretch)
                    k = int(out["alarm"].sum())
                    row[f"{delta}"] = {
                        "false": k / runs,
                        "interval": interval(k, runs),
                        "labels": float(out["spent"].mean()),
                        "changes": float(out["changes"].mean()),
                        "held": float(out["held"].double().mean()),
                    }
                rows.append(row)
                say(
                    f"{looks} looks, jitter {sd}, rises for {rises}, stretch {stretch}: "
                    + ", ".join(f"{d} {row[d]['false']:.3f}" for d in ("0.0", "0.01", "0.03"))
                )
    return rows
