"""Every simulated number of the watch's page: false alarms, labels to the alarm, traps, rivals. One JSON file."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from assay.detector import Schedule
from bench.watch import rivals, simulate
from bench.watch.simulate import Labels, Settings, Watch

CALM = Schedule(4, 32, -1.0)
SHAPES = ("0.4", "0.3", "0.2", "ramp")


def interval(k: int, n: int) -> list[float]:
    """Clopper–Pearson, 95 %, by bisection on the binomial's tails."""
    ways = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1)]

    def below(p: float, most: int) -> float:
        return math.fsum(math.exp(ways[i] + i * math.log(p) + (n - i) * math.log1p(-p)) for i in range(most + 1))

    def where(most: int, level: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(50):
            low, high = ((low + high) / 2, high) if below((low + high) / 2, most) > level else (low, (low + high) / 2)
        return low

    return [where(k - 1, 0.975) if k else 0.0, where(k, 0.025) if k < n else 1.0]


def alarms(make: Callable[[int], Any], p: torch.Tensor, labels: Labels, seed: int, part: int = 1) -> dict[str, Any]:
    """Share of runs with an alarm, its interval, and labels spent a run."""
    out = simulate.run(make(len(p)), p, labels, seed=seed, part=part)
    k = int((out["alarm"] >= 0).sum())
    return {"false": k / len(p), "interval": interval(k, len(p)), "runs": len(p), "labels": float(out["spent"].mean())}


def nulls(R: int, T: int = 100) -> dict[str, torch.Tensor]:
    """Runs that have not turned, as win rates against the best checkpoint."""
    u = torch.rand(R, T, generator=torch.Generator().manual_seed(1))
    ends = torch.linspace(0.5, 0.65, T)
    return {"p = .5 at every look": torch.full((R, T), 0.5), "p = .55": torch.full((R, T), 0.55),
            "slowly improving, .5 to .65": ends.expand(R, T),
            "improving, then a plateau": torch.linspace(0.9, 0.1, T).clamp(min=0.5).expand(R, T),
            "anything between .5 and .7": 0.5 + 0.2 * u}


def chosen(R: int, T: int, spread: float, win: int, seed: int = 3) -> torch.Tensor:
    """The trap: a plateau of checkpoints that jitter (sd `spread` in win rate); the best so far is whoever won `win` of 16."""
    g = torch.Generator().manual_seed(seed)
    level, best, p = torch.randn(R, T, generator=g) * spread, torch.zeros(R), torch.empty(R, T)
    for t in range(T):
        p[:, t] = (0.5 + level[:, t] - best).clamp(0.01, 0.99)
        won = (torch.rand(R, 16, generator=g) < p[:, t, None]).sum(1)
        best = torch.where(won >= win, level[:, t], best)
    return p


def variants() -> dict[str, tuple[Settings, Labels, str]]:
    """The detector in its settings: (settings, labels, which part of the page)."""
    plain = Settings()
    lat = {c: simulate.latent_for(c) for c in (0.3, 0.5, 0.7)}
    found = {"16 labels a look": (plain, Labels(), "main"),
             "calm schedule, 4 or 32": (replace(plain, schedule=CALM), Labels(), "main"),
             "falls deepen (0.1 a look)": (replace(plain, deepen=0.1), Labels(), "tried"),
             "win rates .42 .33 .22": (replace(plain, rates=(0.42, 0.33, 0.22)), Labels(), "tried"),
             "early prior (1/k)": (replace(plain, prior="early"), Labels(), "tried"),
             "e-CUSUM": (replace(plain, cusum=True), Labels(), "tried"),
             "calm 2 or 32": (replace(plain, schedule=Schedule(2, 32, -1.0)), Labels(), "tried"),
             "calm 4 or 64": (replace(plain, schedule=Schedule(4, 64, -1.0)), Labels(), "tried")}
    for c, latent in lat.items():
        found[f"proxy of correlation {c}"] = (replace(plain, proxy=True), Labels(latent=latent), "proxy")
    half, strong = lat[0.5], lat[0.7]
    found["correlation 0.5, calm schedule"] = (replace(plain, proxy=True, schedule=CALM), Labels(latent=half), "proxy")
    unsure = Labels(latent=half, active=True)
    found["correlation 0.5, chosen where unsure"] = (replace(plain, proxy=True, weight=2.0), unsure, "proxy")
    found["correlation 0.7, none after the turn"] = (replace(plain, proxy=True), Labels(latent=strong, after=0.0), "proxy")
    found["20 % wrong, known"] = (replace(plain, flip=0.2), Labels(flip=0.2), "trap")
    found["20 % wrong, not known"] = (plain, Labels(flip=0.2), "trap")
    found["20 % wrong, known, calm schedule"] = (replace(plain, flip=0.2, schedule=CALM), Labels(flip=0.2), "trap")
    found["margin .03"] = (replace(plain, delta=0.03), Labels(), "trap")
    found["margin .05"] = (replace(plain, delta=0.05), Labels(), "trap")
    found["30 % ties"] = (plain, Labels(tie=0.3), "trap")
    return found


def all_of(runs: int, cell: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything; `runs` a null, `cell` a change point (there are four)."""
    T = 100
    out: dict[str, Any] = {"runs": runs, "cell": cell, "detector": [], "nulls": [], "rivals": [], "chosen": []}
    for name, (s, labels, part) in variants().items():
        worst = torch.full((runs, T), 0.5 - s.delta)
        null = alarms(lambda R, s=s: Watch(s, R), worst, labels, 17)
        row = {"name": name, "part": part, **null}
        for shape in SHAPES:
            row[shape] = simulate.after_turn(s, shape, runs=cell, seed=101, labels=labels)
        if part == "main":
            row["0.45"] = simulate.after_turn(s, "0.45", runs=cell, seed=101, labels=labels)
        out["detector"].append(row)
        say(f"{name}: false {row['false']:.3f}, medians " + ", ".join(f"{k} {row[k]['median']:.0f}" for k in SHAPES))
    for name, p in nulls(runs).items():
        out["nulls"].append({"name": name, **alarms(lambda R: Watch(Settings(), R), p, Labels(), 29),
                             "calm": alarms(lambda R: Watch(Settings(schedule=CALM), R), p, Labels(), 31)})
        say(f"null {name}: {out['nulls'][-1]['false']:.3f}")
    for spread in (0.0, 0.02, 0.04):
        for win in (11, 13):
            p = chosen(runs, T, spread, win)
            row = {"sd": spread, "win": win}
            for delta in (0.0, 0.03, 0.05):
                row[f"delta {delta}"] = alarms(lambda R, d=delta: Watch(Settings(delta=d), R), p, Labels(), 37)
            held = (p >= 0.5 - 0.05).all(1)
            row["held"] = int(held.sum())
            if held.any():
                row["delta 0.05, held"] = alarms(lambda R: Watch(Settings(delta=0.05), R), p[held], Labels(), 41)
            out["chosen"].append(row)
            say(f"best chosen by noisy labels, sd {spread}, {win}/16: " + ", ".join(
                f"{d} {row[f'delta {d}']['false']:.3f}" for d in (0.0, 0.03, 0.05)))
    for name, make in rivals.MAKERS.items():
        row = {"name": name, **alarms(make, torch.full((runs, T), 0.5), Labels(), 17)}
        for shape in SHAPES:
            row[shape] = simulate.after_turn(Settings(), shape, runs=max(50, cell // 2), seed=101, make=make)
        out["rivals"].append(row)
        say(f"{name}: false {row['false']:.3f}, medians " + ", ".join(f"{k} {row[k]['median']:.0f}" for k in SHAPES))
    return finite(out)


def finite(x: Any) -> Any:
    """inf and NaN as null: "never" on the page."""
    if isinstance(x, dict):
        return {k: finite(v) for k, v in x.items()}
    if isinstance(x, list):
        return [finite(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
