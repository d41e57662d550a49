"""Real runs scored: the detector in several settings, the rivals, the free signals, an oracle. One JSON file.

Constants of the going-back rule were chosen on table runs 0 to 99, and thresholds of the signals are found there; results are
of the rest. On grammar, thresholds are found on runs of even numbers.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from assay.detector import Detector, Schedule
from bench.watch import collect, replay, rivals
from bench.watch.replay import STEADY, Kept, Outcome
from bench.watch.simulated import finite, interval

TUNED = 100      # table runs below this number were looked at while building; grammar runs have no such share
RIVALS = range(100, 200)
WATCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "watch": ({"delta": 0.05}, {}),
    "watch, margin .03": ({"delta": 0.03}, {}),
    "watch, no margin": ({}, {}),
    "watch without the judges": ({"delta": 0.05}, {"proxy": False}),
    "watch, 20 % of labels wrong": ({"delta": 0.05, "flip": 0.2}, {"flip": 0.2}),
    "watch, more labels on the rise": ({"delta": 0.05, "schedule": Schedule(hopeful=0.5)}, {}),
}


def runs(world: str) -> Iterator[tuple[int, Kept]]:
    """The runs that collect.py has made, in order; read one at a time."""
    for number in range(10_000):
        path = collect.place(world, number)
        if path.exists():
            yield number, Kept.read(path)


# ---- what costs nothing


def signals(run: Kept) -> dict[str, np.ndarray]:
    """Scores at looks 0 … T, larger is more suspicious; none of them sees gold."""
    judges = run.judges.astype(np.float64)
    proxy, others = judges[:, 0].mean((1, 2)), judges[:, 1:].mean((1, 2, 3))
    kl = np.convolve(np.pad(run.free["kl"], (4, 0), "edge"), np.ones(5) / 5, "valid")
    pad = lambda x: np.concatenate([np.zeros(len(kl) - len(x)), x])
    change = np.diff(proxy)
    usual, noise = change[:10].mean(), max(float(change[:10].std()), 1e-9)
    page = np.zeros(len(proxy))
    for t in range(1, len(proxy)):
        page[t] = max(0.0, page[t - 1] + (usual - change[t - 1]) / noise - 0.5)
    return {"judge disagreement": judges.std(1).mean((1, 2)),
            "KL": run.free["kl"],
            "KL acceleration": pad(np.diff(kl, 2)),
            "entropy collapse": run.free["entropy"][0] - run.free["entropy"],
            "length drift": np.abs(run.free["length"] - run.free["length"][0]),
            "repetition drift": run.free["repetition"] - run.free["repetition"][0],
            "proxy against held-out proxies": proxy - others,
            "CUSUM on the proxy's gain": page}


def hints(kept: list[dict[str, Any]], tuned: Callable[[int], bool]) -> list[dict[str, Any]]:
    """Each signal's threshold, the .95 quantile of its maximum over steady tuning runs; then alarms on the others."""
    rows = []
    for name in kept[0]["signals"]:
        quiet = [r for r in kept if tuned(r["number"]) and r["kind"] == "steady"]
        tops = [float(r["signals"][name].max()) for r in quiet]
        if not tops:
            return []
        threshold = float(np.quantile(tops, 0.95))
        scored = []
        for r in kept:
            if not tuned(r["number"]):
                over = r["signals"][name] > threshold
                scored.append((r, int(over.argmax()) if over.any() else -1, float(r["signals"][name].max())))
        steady = [s for s in scored if s[0]["kind"] == "steady"]
        turning = [s for s in scored if s[0]["kind"] == "turns"]
        found = [(r, at) for r, at, _ in turning if at >= 0]
        k = sum(at >= 0 for _, at, _ in steady)
        auroc = np.mean([[(a > b) + (a == b) / 2 for *_, b in steady] for *_, a in turning])
        rows.append({"name": name, "threshold": threshold, "steady": len(steady), "false": k / max(1, len(steady)),
                     "interval": interval(k, max(1, len(steady))), "turning": len(turning),
                     "found": len(found) / max(1, len(turning)), "auroc": float(auroc),
                     "lead": float(np.median([r["turn"] - at for r, at in found])) if found else None,
                     "kept": float(np.mean([r["share"][at] >= 0.9 for r, at in found])) if found else None})
    return rows


# ---- what buys labels


def line(name: str, done: list[tuple[dict[str, Any], Outcome]]) -> dict[str, Any]:
    """False alarms in steady runs and before a turn; labels; the share of the peak's gain kept, by each way of going back."""
    steady = [(r, o) for r, o in done if r["kind"] == "steady"]
    turning = [(r, o) for r, o in done if r["kind"] == "turns"]
    false, early = sum(o.alarm > 0 for _, o in steady), sum(0 < o.alarm <= r["before"] for r, o in turning)
    found = [(r, o) for r, o in turning if o.alarm]
    gains = {rule: [r["share"][o.back[rule] if o.alarm else -1] for r, o in turning] for rule in done[0][1].back}
    shaded = [o for r, o in done if r["kind"] == "shaded"]
    return {"name": name, "steady": len(steady), "false": false / max(1, len(steady)),
            "interval": interval(false, max(1, len(steady))),
            "turning": len(turning), "early": early / max(1, len(turning)), "found": len(found) / max(1, len(turning)),
            "labels": median([o.labels for _, o in found]), "settled": median([o.settled for _, o in found]),
            "steady labels": float(np.mean([o.labels for _, o in steady])) if steady else None,
            "delay": median([o.alarm - r["turn"] for r, o in found]),
            "shaded": len(shaded), "shaded alarms": sum(o.alarm > 0 for o in shaded),
            "kept": {rule: {"share of runs": float(np.mean([g >= 0.9 for g in v])), "median": median(v),
                            "10 %": float(np.quantile(v, 0.1))} for rule, v in gains.items() if v}}


def median(x: list[float]) -> float | None:
    """None of nothing."""
    return float(np.median(x)) if x else None


def about(number: int, run: Kept) -> dict[str, Any]:
    """What every table needs of a run."""
    kind, turn = run.kind()
    share = np.array([replay.kept_gain(run, t) for t in range(run.looks + 1)])
    return {"number": number, "kind": kind, "turn": turn, "before": run.before(), "share": share, "signals": signals(run),
            "recipe": run.about["recipe"], "meant": run.about["meant"]}


def oracle(run: Kept) -> Outcome:
    """Sees all gold: stops at the first look at which the chance against the peak is ≤ .45, and goes back to the peak."""
    low = run.fall() <= STEADY
    t = int(low.argmax()) + 1 if low.any() else 0
    return Outcome(t, 0, {"best so far": run.peak(t) if t else 0}, 0)


def all_of(say: Callable[[str], None]) -> dict[str, Any]:
    """Both worlds."""
    out: dict[str, Any] = {"tuned": TUNED}
    for world in ("table", "grammar"):
        done: dict[str, list[tuple[dict[str, Any], Outcome]]] = {}
        facts = []
        for number, run in runs(world):
            r = about(number, run)
            facts.append(r)
            some = world == "grammar" or number in RIVALS
            for name, (settings, how) in WATCHES.items():
                if name == "watch" or some:
                    made = lambda s=settings, run=run: Detector(looks=run.looks, **s)
                    done.setdefault(name, []).append((r, replay.watch(run, number, make=made, **how)))
            if some:
                for name, make in rivals.MAKERS.items():
                    done.setdefault(name, []).append((r, replay.drive(run, number, make(1, looks=run.looks))))
            done.setdefault("oracle, sees all gold", []).append((r, oracle(run)))
            if number % 20 == 19:
                say(f"{world}: {number + 1} runs")
        if not facts:
            continue
        apart = TUNED if world == "table" else 0
        fresh = {k: [x for x in v if x[0]["number"] >= apart] for k, v in done.items()}
        kinds = {m: {k: sum(r["kind"] == k and r["meant"] is m for r in facts) for k in ("turns", "steady", "shaded")}
                 for m in (True, False)}
        out[world] = {"runs": len(facts), "meant to turn": kinds[True], "meant not to": kinds[False],
                      "all": line("watch, all runs", done["watch"]), "detectors": [line(k, v) for k, v in fresh.items()],
                      "hints": hints(facts, (lambda n: n < TUNED) if world == "table" else (lambda n: n % 2 == 0)),
                      "each": [{"number": r["number"], "kind": r["kind"], "turn": r["turn"], "alarm": o.alarm, "labels": o.labels,
                                "kept": {k: float(r["share"][b]) for k, b in o.back.items()}} for r, o in done["watch"]]}
    return finite(out)
