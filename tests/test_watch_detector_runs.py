"""The detector on runs by the thousand, through its twin in bench/watch, which is fed many runs at
once: its false alarms, and how soon it finds a fall.
"""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path

import pytest
import torch

from assay.watch.detector import Detector, Schedule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
simulate = importlib.import_module("bench.watch.simulate")
F64 = torch.float64


def twin(settings, labels, p):
    """The simulated twin's evidence and the detector's, fed the same labels."""
    watch = simulate.Watch(settings, 1)
    d = Detector(
        looks=settings.looks, delta=settings.delta, flip=settings.flip, weight=settings.weight
    )
    g = torch.Generator().manual_seed(4)
    for look in range(15):
        watch.begin(look)
        for _ in range(4):
            K = 3
            pool = torch.rand(1, K, generator=g, dtype=F64)
            x = (torch.rand(1, generator=g, dtype=F64) < p).double()
            u = (pool[:, 0] - pool.mean(1))[:, None]
            watch.feed(
                x[:, None], u, torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=torch.bool)
            )
            d.update(look, x, **({"proxy": pool[:, 0], "pool": pool} if settings.proxy else {}))
    return float(watch.log_evidence()[0]), d.log_evidence


@pytest.mark.parametrize("proxy", [False, True])
def test_the_simulated_twin_is_the_detector(proxy):
    a, b = twin(simulate.Settings(proxy=proxy, delta=0.02, flip=0.1, looks=50), None, 0.4)
    assert a == pytest.approx(b, abs=1e-9)


R, T = 5000, 50
EVEN = torch.full((R, T), 0.5)
PROXY = {"latent": 0.65}


def jitter():
    return (0.47 + 0.06 * torch.rand(R, T, generator=torch.Generator().manual_seed(9))).float()


NULLS = {
    "always ½": ({}, {}, lambda: EVEN),
    "always .55": ({}, {}, lambda: EVEN + 0.05),
    "slowly improving": ({}, {}, lambda: torch.linspace(0.5, 0.65, T).expand(R, T)),
    "improving, then a plateau": (
        {},
        {},
        lambda: torch.linspace(0.8, 0.2, T).clamp(min=0.5).expand(R, T),
    ),
    "between ½ and .7": (
        {},
        {},
        lambda: 0.5 + 0.2 * torch.rand(R, T, generator=torch.Generator().manual_seed(8)),
    ),
    "jitter within delta": ({"delta": 0.03}, {}, jitter),
    "with a proxy": ({"proxy": True}, PROXY, lambda: EVEN),
    "with a proxy, chosen where it is unsure": (
        {"proxy": True, "weight": 2.0},
        {**PROXY, "active": True},
        lambda: EVEN,
    ),
    "a fifth of the labels wrong": ({"flip": 0.2}, {"flip": 0.2}, lambda: EVEN),
    "a fifth wrong, and nobody knows": ({"delta": 0.03}, {"flip": 0.2}, lambda: EVEN - 0.03),
    "ties, falls that deepen, early prior": (
        {"deepen": 0.1, "prior": "early"},
        {"tie": 0.3},
        lambda: EVEN,
    ),
}


@pytest.mark.parametrize("name", NULLS)
def test_false_alarms(name):
    """5,000 runs that have not turned, 4 labels a look and 12 when it looks bad: no more alarms
    than 5 % can produce.
    """
    settings, labels, p = NULLS[name]
    s = simulate.Settings(looks=T, schedule=Schedule(4, 12, -1.0), **settings)
    out = simulate.run(simulate.Watch(s, R), p(), simulate.Labels(K=4, **labels), seed=17, part=4)
    k = int((out["alarm"] >= 0).sum())
    assert k <= 0.05 * R + 3.1 * math.sqrt(0.05 * 0.95 * R)  # the binomial's .999 quantile at 5 %
    if name == "always ½":
        assert k > 0.005 * R  # and the test can see alarms


def test_the_best_chosen_by_noisy_labels():
    """Checkpoints jitter and the best so far is whoever won most: it really is better, by up to
    delta. Alarms ≤ 5 %.
    """
    g = torch.Generator().manual_seed(3)
    level = (
        torch.rand(R, T, generator=g) - 0.5
    ) * 0.05  # in win rate against an average checkpoint
    best, p = torch.zeros(R), torch.empty(R, T)
    for t in range(T):
        p[:, t] = 0.5 + level[:, t] - best
        won = torch.distributions.Binomial(16, p[:, t]).sample()
        best = torch.where(won >= 11, level[:, t], best)
    assert float(p.min()) >= 0.45 - 1e-6
    s = simulate.Settings(looks=T, delta=0.05, schedule=Schedule(4, 12, -1.0))
    out = simulate.run(simulate.Watch(s, R), p, simulate.Labels(), seed=5, part=4)
    assert int((out["alarm"] >= 0).sum()) <= 0.05 * R + 3.1 * math.sqrt(0.05 * 0.95 * R)


def test_it_finds_a_fall():
    """Of 200 runs that fall to .30 after 20 looks, nearly all are stopped, with a median below 100
    labels from the fall.
    """
    p = torch.cat([torch.full((200, 20), 0.5), torch.full((200, 60), 0.3)], 1)
    out = simulate.run(
        simulate.Watch(simulate.Settings(looks=80), 200), p, simulate.Labels(), seed=1, turn=20
    )
    late = out["alarm"] >= 20
    assert int(late.sum()) >= 185
    assert float((out["spent"] - out["before"])[late].median()) < 100
