"""Every simulated number of the watch's page: false alarms, labels to the alarm, traps, rivals. One
JSON file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from assay.watch.detector import Schedule
from bench.watch import jitter, rivals, simulate, traps
from bench.watch.simulate import Labels, Settings, Watch

CALM = Schedule(4, 32, -1.0)
SHAPES = ("0.4", "0.3", "0.2", "ramp")


def interval(k: int, n: int) -> list[float]:
    """Clopper–Pearson, 95 %, by bisection on the binomial's tails."""
    ways = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1)]

    def below(p: float, most: int) -> float:
        return math.fsum(
            math.exp(ways[i] + i * math.log(p) + (n - i) * math.log1p(-p)) for i in range(most + 1)
        )

    def where(most: int, level: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(50):
            low, high = (
                ((low + high) / 2, high)
                if below((low + high) / 2, most) > level
                else (low, (low + high) / 2)
            )
        return low

    return [where(k - 1, 0.975) if k else 0.0, where(k, 0.025) if k < n else 1.0]


def alarms(
    make: Callable[[int], Any], p: torch.Tensor, labels: Labels, seed: int, part: int = 1
) -> dict[str, Any]:
    """Share of runs with an alarm, its interval, and labels spent a run."""
    out = simulate.run(make(len(p)), p, labels, seed=seed, part=part)
    k = int((out["alarm"] >= 0).sum())
    return {
        "false": k / len(p),
        "interval": interval(k, len(p)),
        "runs": len(p),
        "labels": float(out["spent"].mean()),
    }


def nulls(R: int, T: int = 100) -> dict[str, torch.Tensor]:
    """Runs that have not turned, as win rates against the best checkpoint."""
    u = torch.rand(R, T, generator=torch.Generator().manual_seed(1))
    ends = torch.linspace(0.5, 0.65, T)
    return {
        "p = .5 at every look": torch.full((R, T), 0.5),
        "p = .55": torch.full((R, T), 0.55),
        "slowly improving, .5 to .65": ends.expand(R, T),
        "improving, then a plateau": torch.linspace(0.9, 0.1, T).clamp(min=0.5).expand(R, T),
        "anything between .5 and .7": 0.5 + 0.2 * u,
    }


def variants() -> dict[str, tuple[Settings, Labels, str]]:
    """The detector in its settings: (settings, labels, which part of the page)."""
    plain = Settings()
    lat = {c: simulate.latent_for(c) for c in (0.3, 0.5, 0.7)}
    found = {
        "16 labels a look": (plain, Labels(), "main"),
        "calm schedule, 4 or 32": (replace(plain, schedule=CALM), Labels(), "main"),
        "calm schedule, margin .01": (replace(plain, schedule=CALM, delta=0.01), Labels(), "main"),
        "the same, at most 550 labels": (
            replace(plain, schedule=replace(CALM, budget=550), delta=0.01),
            Labels(),
            "main",
        ),
        "falls deepen (0.1 a look)": (replace(plain, deepen=0.1), Labels(), "tried"),
        "win rates .42 .33 .22": (replace(plain, rates=(0.42, 0.33, 0.22)), Labels(), "tried"),
        "early prior (1/k)": (replace(plain, prior="early"), Labels(), "tried"),
        "e-CUSUM": (replace(plain, cusum=True), Labels(), "tried"),
        "calm 2 or 32": (replace(plain, schedule=Schedule(2, 32, -1.0)), Labels(), "tried"),
        "calm 4 or 64": (replace(plain, schedule=Schedule(4, 64, -1.0)), Labels(), "tried"),
    }
    for c, latent in lat.items():
        found[f"proxy of correlation {c}"] = (
            replace(plain, proxy=True),
            Labels(latent=latent),
            "proxy",
        )
    half, strong = lat[0.5], lat[0.7]
    found["correlation 0.5, calm schedule"] = (
        replace(plain, proxy=True, schedule=CALM),
        Labels(latent=half),
        "proxy",
    )
    found["correlation 0.5, calm, margin .01"] = (
        replace(plain, proxy=True, schedule=CALM, delta=0.01),
        Labels(latent=half),
        "proxy",
    )
    unsure = Labels(latent=half, active=True)
    found["correlation 0.5, chosen where unsure"] = (
        replace(plain, proxy=True, weight=2.0),
        unsure,
        "proxy",
    )
    found["correlation 0.7, none after the turn"] = (
        replace(plain, proxy=True),
        Labels(latent=strong, after=0.0),
        "proxy",
    )
    found["20 % wrong, known"] = (replace(plain, flip=0.2), Labels(flip=0.2), "trap")
    found["20 % wrong, not known"] = (plain, Labels(flip=0.2), "trap")
    found["20 % wrong, known, calm schedule"] = (
        replace(plain, flip=0.2, schedule=CALM),
        Labels(flip=0.2),
        "trap",
    )
    found["margin .03"] = (replace(plain, delta=0.03), Labels(), "trap")
    found["margin .05"] = (replace(plain, delta=0.05), Labels(), "trap")
    found["30 % ties"] = (plain, Labels(tie=0.3), "trap")
    return found


def all_of(
    runs: int, cell: int, say: Callable[[str], None], only: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything; `runs` a null, `cell` a change point (there are four). only: names of settings of
    the detector, and of the parts nulls, traps, jitter, rivals; nothing else is made then.
    """
    T = 100
    wanted = lambda name: not only or name in only
    out: dict[str, Any] = {"runs": runs, "cell": cell, "detector": [], "nulls": [], "rivals": []}
    for name, (s, labels, part) in variants().items():
        if not wanted(name):
            continue
        worst = torch.full((runs, T), 0.5 - s.delta)
        null = alarms(lambda R, s=s: Watch(s, R), worst, labels, 17)
        row = {"name": name, "part": part, **null}
        for shape in SHAPES:
            row[shape] = simulate.after_turn(s, shape, runs=cell, seed=101, labels=labels)
        if part == "main":
            row["0.45"] = simulate.after_turn(s, "0.45", runs=cell, seed=101, labels=labels)
        out["detector"].append(row)
        say(
            f"{name}: false {row['false']:.3f}, medians "
            + ", ".join(f"{k} {row[k]['median']:.0f}" for k in SHAPES)
        )
    for name, p in nulls(runs).items() if wanted("nulls") else ():
        out["nulls"].append(
            {
                "name": name,
                **alarms(lambda R: Watch(Settings(), R), p, Labels(), 29),
                "calm": alarms(lambda R: Watch(Settings(schedule=CALM), R), p, Labels(), 31),
            }
        )
        say(f"null {name}: {out['nulls'][-1]['false']:.3f}")
    for part, make_all in (("traps", traps.all_of), ("jitter", jitter.all_of)):
        if wanted(part):
            out[part] = make_all(runs, interval, say)
    for name, make in rivals.MAKERS.items() if wanted("rivals") else ():
        row = {"name": name, **alarms(make, torch.full((runs, T), 0.5), Labels(), 17)}
        for shape in SHAPES:
            row[shape] = simulate.after_turn(
                Settings(), shape, runs=max(50, cell // 2), seed=101, make=make
            )
        out["rivals"].append(row)
        say(
            f"{name}: false {row['false']:.3f}, medians "
            + ", ".join(f"{k} {row[k]['median']:.0f}" for k in SHAPES)
        )
    return finite(out)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with what is in `new`: a part as a whole, a setting of the detector by its name. Raises
    ValueError where the two were made of different numbers of runs.
    """
    if any(old.get(k, new[k]) != new[k] for k in ("runs", "cell")):
        raise ValueError(
            f"the results there are of {old['runs']} nulls and {old['cell']} runs a change point, "
            f"and these of {new['runs']} and {new['cell']}: give --runs and --cell as they were, "
            "or make everything again"
        )
    fresh, order = {r["name"]: r for r in new["detector"]}, list(variants())
    rows = [fresh.pop(r["name"], r) for r in old.get("detector", []) if r["name"] in order]
    parts = ("runs", "cell", "nulls", "traps", "jitter", "rivals")
    return {
        **{k: new.get(k) or old.get(k, []) for k in parts},
        "detector": sorted(rows + list(fresh.values()), key=lambda r: order.index(r["name"])),
    }


def finite(x: Any) -> Any:
    """inf and NaN as null: "never" on the page."""
    if isinstance(x, dict):
        return {k: finite(v) for k, v in x.items()}
    if isinstance(x, list):
        return [finite(v) for v in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
