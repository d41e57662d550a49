"""Simulated runs by the thousand: the detector (assay/watch/detector.py) on R runs at once.


A simulated run is its win rates p[t] against the best checkpoint. Labels are drawn, lied about, and
handed to a monitor one at a time; the monitor decides how many a look buys. This twin is held to
the detector label by label in tests/test_watch_detector.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from assay.formulas import sequential as seq
from assay.watch.detector import Schedule

DOUBLE = torch.float64
AFTER = 400  # looks simulated after a turn, so that medians exist for slow detectors


@dataclass(frozen=True)
class Labels:
    """How labels come to be. rho: strength of the proxy, as the latent correlation that gives
    `corr` of proxy and outcome; after: the same from the turn on (None: unchanged); K: candidates a
    label; flip: share of wrong labels; tie: share of ties.
    """

    flip: float = 0.0
    tie: float = 0.0
    latent: float = 0.0
    after: float | None = None
    K: int = 16
    active: bool = False


@dataclass(frozen=True)
class Settings:
    """The detector's settings, as in assay.watch.detector.Detector; cusum: e-CUSUM in place of
    e-SR.
    """

    alpha: float = 0.05
    looks: int = 100
    delta: float = 0.0
    flip: float = 0.0
    flip_least: float = 0.0
    prior: str = "uniform"
    rates: tuple[float, ...] = (0.45, 0.40, 0.30, 0.20)
    deepen: float = 0.0
    trust: float = 0.75
    proxy: bool = False
    weight: float = 1.0
    cusum: bool = False
    schedule: Schedule = field(default_factory=lambda: Schedule(calm=16, alert=16))


class Monitor(Protocol):
    """What watches R runs: asked how many labels each wants, fed one label of each, asked whose
    alarm has gone.
    """

    def begin(self, look: int) -> Tensor: ...
    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> Any: ...
    def alarm(self) -> Tensor: ...


class Watch:
    """The detector, R runs at once. Capital [R,2,J]: bets with the proxy's help, and on labels
    alone.
    """

    def __init__(self, settings: Settings, runs: int):
        s = self.s = settings
        self.null = seq.null_mean(delta=s.delta, flip=s.flip_least)
        self.q = seq.flipped(torch.tensor(sorted(s.rates, reverse=True), dtype=DOUBLE), flip=s.flip)
        self.prior = seq.start_prior(looks=s.looks, kind=s.prior)
        self.variants = 2 if s.proxy else 1  # without a proxy both bet alike
        self.log_s = torch.full((runs, self.variants, len(s.rates)), -math.inf, dtype=DOUBLE)
        self.past, self.fresh = (
            torch.zeros(runs, 5, dtype=DOUBLE),
            torch.zeros(runs, 5, dtype=DOUBLE),
        )
        self.split = torch.tensor([s.trust, 1 - s.trust] if s.proxy else [1.0], dtype=DOUBLE).log()[
            :, None
        ]
        self.spent = torch.zeros(runs)

    def log_evidence(self) -> Tensor:
        """[R]"""
        return torch.logsumexp((self.log_s + self.split).flatten(1), 1)

    def begin(self, look: int) -> Tensor:
        """Labels wanted [R]; bets of this look are fixed."""
        s = self.s
        wary = self.log_evidence() > s.schedule.wary
        n = torch.where(wary, s.schedule.alert, s.schedule.calm)
        if s.schedule.budget:
            n = torch.minimum(n, s.schedule.budget - self.spent).clamp(min=0)
        if s.deepen:
            self.log_s = seq.deepened(self.log_s, seq.deepening(J=len(s.rates), rate=s.deepen))
        start = (self.prior[look] / len(s.rates)).log()
        self.log_s = (
            torch.maximum(self.log_s, start) if s.cusum else torch.logaddexp(self.log_s, start)
        )
        self.past, self.fresh = self.past + self.fresh, torch.zeros_like(self.fresh)
        none = torch.zeros(len(self.past), dtype=DOUBLE)
        self.c, explained = seq.fit_control(*self.past.T) if s.proxy else (none, none)
        lam = [
            seq.bets(
                self.q.expand(len(c), -1),
                null=self.null,
                explained=e[:, None],
                most=seq.largest_bet(c, null=self.null, weight=s.weight)[:, None],
            )
            for c, e in ((self.c, explained), (none, none))[: self.variants]
        ]
        self.lam = torch.stack(lam, 1)
        return n

    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> Tensor:
        """Labels [R,L] of which `on` were bought. Returns the highest log-evidence on the way,
        label by label [R].
        """
        c = torch.stack([self.c, torch.zeros_like(self.c)][: self.variants], 1)
        xs, us, ws = (a[:, None].expand(-1, self.variants, -1) for a in (x, u, w))
        pay = torch.where(
            on[:, None, None],
            seq.log_pays(xs, self.lam, null=self.null, control=us, c=c, weight=ws),
            0.0,
        )
        path = torch.logsumexp((self.log_s + self.split)[..., None] + pay.cumsum(-1), (1, 2)).amax(
            -1
        )
        self.log_s = self.log_s + pay.sum(-1)
        y = w * (x - 0.5)
        each = torch.stack([torch.ones_like(y), y, y.square(), y * u, u.square()], -1)
        self.fresh = self.fresh + torch.where(on[..., None], each, 0.0).sum(1)
        self.spent = self.spent + on.sum(1)
        return path

    def alarm(self) -> Tensor:
        """[R]"""
        return self.log_evidence() >= -math.log(self.s.alpha)


def draw(
    p: Tensor, labels: Labels, latent: float, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Outcome, control and weight of one label a run [R,1]. The proxy is a uniform rank; a latent
    normal ties it to winning.
    """
    R = len(p)
    K = labels.K if latent else 1
    a = torch.randn(R, K, generator=g, dtype=DOUBLE)
    z = torch.special.ndtr(a)
    threshold = torch.special.ndtri((1 - p).clamp(1e-9, 1 - 1e-9))
    if labels.active and latent:
        win = torch.special.ndtr((latent * a - threshold[:, None]) / math.sqrt(1 - latent**2))
        index, w = seq.choice((win * (1 - win)).sqrt(), torch.rand(R, generator=g, dtype=DOUBLE))
    else:
        index, w = torch.zeros(R, dtype=torch.int64), torch.ones(R, dtype=DOUBLE)
    mine = a.gather(1, index[:, None])[:, 0]
    x = (
        latent * mine + math.sqrt(1 - latent**2) * torch.randn(R, generator=g, dtype=DOUBLE)
        > threshold
    ).to(DOUBLE)
    lie = torch.rand(R, generator=g) < labels.flip
    x = torch.where(lie, 1 - x, x)
    if labels.tie:
        x = torch.where(torch.rand(R, generator=g) < labels.tie, 0.5, x)
    u = (
        seq.control(z.gather(1, index[:, None]), z[:, None, :], w[:, None])
        if latent
        else torch.zeros(R, 1, dtype=DOUBLE)
    )
    return x[:, None], u, w[:, None]


def run(
    monitor: Monitor, p: Tensor, labels: Labels, *, seed: int, turn: int = 10**9, part: int = 1
) -> dict[str, Tensor]:
    """Watches runs with win rates p [R,T]. Returns by run: alarm (look, −1 for none), spent (labels
    in all), before (labels until look `turn`). Only runs without an alarm are drawn for. part:
    labels between two looks at the alarm.
    """
    g = torch.Generator().manual_seed(seed)
    R, T = p.shape
    alarm, spent, before = torch.full((R,), -1), torch.zeros(R), torch.zeros(R)
    live = torch.ones(R, dtype=torch.bool)
    for t in range(T):
        if not bool(live.any()):
            break
        if t == turn:
            before = spent.clone()
        wanted = torch.where(live, monitor.begin(t), 0)
        latent = labels.latent if labels.after is None or t < turn else labels.after
        for i in range(int(wanted.max())):
            on = (wanted > i) & live
            if not bool(on.any()):
                break
            x, u, w = draw(p[:, t].to(DOUBLE), labels, latent, g)
            monitor.feed(x, u, w, on[:, None])
            spent = spent + on
            if (i + 1) % part == 0 or i + 1 == int(wanted.max()):
                gone = live & on & monitor.alarm()
                alarm, live = torch.where(gone, t, alarm), live & ~gone
        gone = live & monitor.alarm()
        alarm, live = torch.where(gone, t, alarm), live & ~gone
    return {"alarm": alarm, "spent": spent, "before": before if turn < T else spent}


def latent_for(corr: float, p: float = 0.5, n: int = 400_000) -> float:
    """The latent correlation at which proxy and outcome correlate by `corr` at win rate p: by
    bisection on a fixed sample.
    """
    g = torch.Generator().manual_seed(1)
    a, e = torch.randn(2, n, generator=g, dtype=DOUBLE)
    z, threshold = (
        torch.special.ndtr(a),
        float(torch.special.ndtri(torch.tensor(1 - p, dtype=DOUBLE))),
    )

    def gap(r: float) -> float:
        x = (r * a + math.sqrt(1 - r * r) * e > threshold).to(DOUBLE)
        return float(torch.corrcoef(torch.stack([z, x]))[0, 1]) - corr

    low, high = 0.0, 0.999
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) < 0 else (low, middle)
    return (low + high) / 2


def after_turn(
    settings: Settings,
    shape: str,
    *,
    runs: int,
    seed: int,
    labels: Labels | None = None,
    changes: tuple[int, ...] = (0, 20, 40, 60),
    calm: float = 0.5,
    make: Any = None,
) -> dict[str, float]:
    """Labels and looks from the turn to the alarm: median and 90 % over change points; alarms
    before the turn are dropped.
    """
    labels = labels or Labels()
    delays, looks, totals, lost = [], [], [], 0
    for i, change in enumerate(changes):
        T = change + AFTER
        p = torch.full((runs, T), calm)
        fall = {"ramp": [0.45, 0.40, 0.30, 0.20]}.get(shape) or [float(shape)]
        for k in range(T - change):
            p[:, change + k] = fall[min(k, len(fall) - 1)]
        monitor = Watch(settings, runs) if make is None else make(runs)
        out = run(_Long(monitor, settings.looks), p, labels, seed=seed + i, turn=change)
        late = (out["alarm"] >= change) | (out["alarm"] < 0)
        spent = torch.where(out["alarm"] < 0, math.inf, out["spent"] - out["before"])
        delays.append(spent[late])
        looks.append(torch.where(out["alarm"] < 0, math.inf, out["alarm"] - change + 1.0)[late])
        totals.append(torch.where(out["alarm"] < 0, math.inf, out["spent"])[late])
        lost += int((~late).sum())
    d, n = torch.cat(delays), torch.cat(looks)
    q = lambda x, at: float(x.quantile(at, interpolation="higher"))
    return {
        "median": q(d, 0.5),
        "90%": q(d, 0.9),
        "looks": q(n, 0.5),
        "total": q(torch.cat(totals), 0.5),
        "found": float(torch.isfinite(d).double().mean()),
        "early": lost,
        "runs": len(changes) * runs,
    }


class _Long:
    """A monitor whose looks go on: beyond its prior's last look nothing new begins."""

    def __init__(self, monitor: Any, looks: int):
        self.monitor, self.looks = monitor, looks
        if isinstance(monitor, Watch):
            monitor.prior = torch.cat([monitor.prior, torch.zeros(10_000, dtype=DOUBLE)])

    def begin(self, look: int) -> Tensor:
        return self.monitor.begin(look)

    def feed(self, x: Tensor, u: Tensor, w: Tensor, on: Tensor) -> None:
        self.monitor.feed(x, u, w, on)

    def alarm(self) -> Tensor:
        return self.monitor.alarm()
