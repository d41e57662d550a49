"""Real runs scored: the detector in several settings, the rivals, the free signals, an oracle.

Constants of the watch (labels after a stop, the curve's prior) were chosen on table runs of even
numbers, which are of other settings than the odd ones, and on grammar's runs 0 to 31. Thresholds
of the signals are found on every second round of settings and scored on the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.watch.config import WatchConfig
from bench.watch import collect, replay, rivals
from bench.watch.replay import STEADY, Kept, Outcome
from bench.watch.simulated import finite, interval

RIVALS = 200  # of the table's runs of odd numbers, those from this one on meet rivals and variants
WATCHES: dict[
    str, tuple[dict[str, Any], float]
] = {  # settings of WatchConfig, and the share of wrong labels
    "watch": ({}, 0.0),
    "watch, no margin": ({"delta": 0.0}, 0.0),
    "watch, margin .05": ({"delta": 0.05}, 0.0),
    "watch, one checkpoint is the best so far": ({"stretch": 1}, 0.0),
    "watch, no labels after the stop": ({"settle": 0}, 0.0),
    "watch, judges of 8 candidates a label": ({"group": 8}, 0.0),
    "watch, 20 % of labels wrong": ({"flip": 0.2, "budget": 1000}, 0.2),
    "watch, 20 % wrong and not told": ({"budget": 1000}, 0.2),
}


def runs(world: str, folder: Path) -> Iterator[tuple[int, Kept]]:
    """The runs that collect.py has made and put there, in order; read one at a time."""
    for path in sorted(folder.glob(f"{world}-????.npz")):
        yield int(path.stem[-4:]), Kept.read(path)


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
    return {
        "judge disagreement": judges.std(1).mean((1, 2)),
        "KL": run.free["kl"],
        "KL acceleration": pad(np.diff(kl, 2)),
        "entropy collapse": run.free["entropy"][0] - run.free["entropy"],
        "length drift": np.abs(run.free["length"] - run.free["length"][0]),
        "repetition drift": run.free["repetition"] - run.free["repetition"][0],
        "proxy against held-out proxies": proxy - others,
        "CUSUM on the proxy's gain": page,
    }


def hints(kept: list[dict[str, Any]], tuned: Callable[[int], bool]) -> list[dict[str, Any]]:
    """Each signal's threshold, the .95 quantile of its maximum over steady tuning runs; then alarms
    on the others.
    """
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
                scored.append(
                    (r, int(over.argmax()) if over.any() else -1, float(r["signals"][name].max()))
                )
        steady = [s for s in scored if s[0]["kind"] == "steady"]
        turning = [s for s in scored if s[0]["kind"] == "turns"]
        found = [(r, at) for r, at, _ in turning if at >= 0]
        k = sum(at >= 0 for _, at, _ in steady)
        auroc = np.mean([[(a > b) + (a == b) / 2 for *_, b in steady] for *_, a in turning])
        rows.append(
            {
                "name": name,
                "threshold": threshold,
                "steady": len(steady),
                "false": k / max(1, len(steady)),
                "interval": interval(k, max(1, len(steady))),
                "turning": len(turning),
                "found": len(found) / max(1, len(turning)),
                "auroc": float(auroc),
                "lead": float(np.median([r["turn"] - at for r, at in found])) if found else None,
                "kept": float(np.mean([r["share"][at] >= 0.9 for r, at in found]))
                if found
                else None,
            }
        )
    return rows


# ---- what buys labels


def line(name: str, done: list[tuple[dict[str, Any], Outcome]]) -> dict[str, Any]:
    """False alarms in steady runs and before a turn; labels; the share of the peak's gain kept, by
    each way of going back.
    """
    steady = [(r, o) for r, o in done if r["kind"] == "steady"]
    turning = [(r, o) for r, o in done if r["kind"] == "turns"]
    false, early = (
        sum(o.alarm > 0 for _, o in steady),
        sum(0 < o.alarm <= r["before"] for r, o in turning),
    )
    found = [(r, o) for r, o in turning if o.alarm]
    gains = {
        rule: [r["share"][o.back[rule] if o.alarm else -1] for r, o in turning]
        for rule in done[0][1].back
    }
    mean = lambda x: float(np.mean(x)) if x else None
    shaded = [o for r, o in done if r["kind"] == "shaded"]
    return {
        "name": name,
        "steady": len(steady),
        "false": false / max(1, len(steady)),
        "interval": interval(false, max(1, len(steady))),
        "turning": len(turning),
        "early": early / max(1, len(turning)),
        "found": len(found) / max(1, len(turning)),
        "labels": median([o.labels for _, o in found]),
        "settled": median([o.settled for _, o in found]),
        "steady labels": mean([o.labels for _, o in steady]),
        "delay": median([o.alarm - r["turn"] for r, o in found]),
        "edge": mean([r["edge"] for r, _ in turning]),
        "gain": {
            "peak": mean([r["top"] for r, _ in turning]),
            "last": mean([r["gain"][-1] for r, _ in turning]),
            "back": mean(
                [
                    r["gain"][o.back.get("gone back to", o.back["best so far"]) if o.alarm else -1]
                    for r, o in turning
                ]
            ),
        },
        "shaded": len(shaded),
        "shaded alarms": sum(o.alarm > 0 for o in shaded),
        "kept": {
            rule: {
                "share of runs": float(np.mean([g >= 0.9 for g in v])),
                "median": median(v),
                "interval": interval(sum(g >= 0.9 for g in v), len(v)),
                "10 %": float(np.quantile(v, 0.1)),
            }
            for rule, v in gains.items()
            if v
        },
    }


def median(x: list[float]) -> float | None:
    """None of nothing."""
    return float(np.median(x)) if x else None


def about(number: int, run: Kept) -> dict[str, Any]:
    """What every table needs of a run."""
    kind, turn = run.kind()
    gain, top = replay.gains(run)
    return {
        "number": number,
        "kind": kind,
        "turn": turn,
        "before": run.before(),
        "share": replay.shares(run),
        "gain": gain,
        "top": top,
        "edge": run.p(run.peak(run.looks), 0),
        "signals": signals(run),
        "recipe": run.about["recipe"],
        "meant": run.about["meant"],
        "sources": run.about.get("sources", "not noted"),
        "exact": run.exact,
    }


def oracle(run: Kept) -> Outcome:
    """Sees all gold: stops at the first look at which the chance against the peak is ≤ .45, and
    goes back to the peak.
    """
    low = run.fall() <= STEADY
    t = int(low.argmax()) + 1 if low.any() else 0
    return Outcome(t, 0, {"best so far": run.peak(t) if t else 0}, 0)


def rounds(world: str) -> Callable[[int], bool]:
    """Whether thresholds are found on a run: each round has every setting once."""
    settings = len(collect.SETTINGS[world])
    return lambda number: number // settings % 2 == 0


def signals_alone(folder: Path, worlds: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """What costs nothing, by world."""
    return {
        w: finite(hints([about(n, run) for n, run in runs(w, folder)], rounds(w))) for w in worlds
    }


def ceiling(say: Callable[[str], None], folder: Path, worlds: Sequence[str]) -> dict[str, Any]:
    """By world, over runs that turn: how often the checkpoint that wins most has 90 % of the peak's
    gain.
    """
    out = {}
    for world in worlds:
        found = [
            (number, float(replay.shares(run)[replay.by_wins(run)]))
            for number, run in runs(world, folder)
            if run.kind()[0] == "turns" and (world != "table" or number % 2)
        ]
        k = sum(share >= 0.9 for _, share in found)
        out[world] = {
            "turning": len(found),
            "kept": k / max(1, len(found)),
            "interval": interval(k, max(1, len(found))),
        }
        say(f"{world}: {k} of {len(found)}")
    return out


def all_of(
    say: Callable[[str], None], folder: Path, worlds: Sequence[str], made: str = ""
) -> dict[str, Any]:
    """By world, from the runs in `folder`. made: what is known of the sources of those that have
    not noted it.
    """
    out: dict[str, Any] = {}
    for world in worlds:
        done: dict[str, list[tuple[dict[str, Any], Outcome]]] = {}
        facts = []
        for number, run in runs(world, folder):
            r = about(number, run)
            facts.append(r)
            some = world != "table" or (number % 2 == 1 and number >= RIVALS)
            for name, (settings, flip) in WATCHES.items():
                if name == "watch" or some:
                    done.setdefault(name, []).append(
                        (r, replay.watch(run, number, WatchConfig(**settings), flip=flip))
                    )
            if some:
                for name, make in rivals.MAKERS.items():
                    done.setdefault(name, []).append(
                        (r, replay.drive(run, number, make(1, looks=run.looks)))
                    )
            done.setdefault("oracle, sees all gold", []).append((r, oracle(run)))
            if len(facts) % 20 == 0:
                say(f"{world}: {len(facts)} runs")
        if not facts:
            continue
        fresh = {
            k: [x for x in v if world != "table" or x[0]["number"] % 2] for k, v in done.items()
        }
        kinds = {
            m: {
                k: sum(r["kind"] == k and r["meant"] is m for r in facts)
                for k in ("turns", "steady", "shaded")
            }
            for m in (True, False)
        }
        sources = Counter(r["sources"] for r in facts)
        out[world] = {
            "runs": len(facts),
            "made": made,
            "exact": facts[0]["exact"],
            "sources": dict(sources),
            "meant to turn": kinds[True],
            "meant not to": kinds[False],
            "all": line("watch, all runs", done["watch"]),
            "detectors": [line(k, v) for k, v in fresh.items()],
            "hints": hints(facts, rounds(world)),
            "each": [
                {
                    "number": r["number"],
                    "kind": r["kind"],
                    "turn": r["turn"],
                    "alarm": o.alarm,
                    "labels": o.labels,
                    "kept": {k: float(r["share"][b]) for k, b in o.back.items()},
                }
                for r, o in done["watch"]
            ],
        }
    return finite(out)
