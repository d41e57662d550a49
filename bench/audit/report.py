"""bench/results/audit.json: every rule judged on the report's runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from assay.audits.members import parting
from assay.audits.turning import predict
from assay.audits.turning_fit import Calibration
from bench.audit import judged, measured, worlds
from bench.audit.judged import Run

FEW = 64  # completions a prompt, of the second reading of the same runs
DIGITS = 6


def runs_of(seeds: range, completions: int = 0) -> list[Run]:
    """The kept runs of these seeds."""
    found = ((k, s, worlds.place(k, s)) for k in worlds.KINDS for s in seeds)
    return [judged.read(k, s, path, completions) for k, s, path in found if path.exists()]


def shipped(develop: Sequence[Run]) -> Calibration:
    """The calibration that `assay.audits.turning` has: errors by leaving out kinds of world."""
    return judged.fitted(develop, "members", [r.kind for r in develop])


def source(made: Calibration) -> str:
    """The file of the library that holds a calibration."""
    rounded = {
        k: tuple(round(x, DIGITS) for x in v) if isinstance(v, tuple) and k != "names" else v
        for k, v in asdict(made).items()
    }
    rounded |= {k: round(v, DIGITS) for k, v in rounded.items() if isinstance(v, float)}
    each = (f"    {k}={v!r},\n" for k, v in rounded.items())
    fields = "".join(each).replace("'", '"').replace("inf", 'float("inf")')
    return (
        '"""The calibration of `turning.predict`; `python -m bench.audit calibrate` writes it."""'
        "\n\nfrom __future__ import annotations\n\n"
        "from assay.audits.turning_fit import Calibration\n\n"
        f"KNOWN = Calibration(\n{fields})\n"
    )


def all_of(say: Callable[[str], None]) -> dict[str, Any]:
    """Everything; only seeds of `worlds.REPORT` are judged."""
    develop, report = runs_of(worlds.DEVELOP), runs_of(worlds.REPORT)
    seen = {r.kind for r in develop}
    known = [r for r in report if r.kind in seen]
    questions: dict[str, Any] = {}
    for question, ask, of in (
        ("new seeds of known kinds", judged.of_known_kinds, known),
        ("kinds that the calibration has not seen", judged.of_new_kinds, report),
    ):
        by = {rule: ask(develop, of, rule) for rule in judged.RULES}
        questions[question] = {
            "rules": {rule: measures(of, found) for rule, found in by.items()},
            "members minus": {
                rule: differences(of, by["members"], found)
                for rule, found in by.items()
                if rule != "members"
            },
            "kinds": {
                kind: measures(*only(of, by["members"], kind))
                for kind in sorted({r.kind for r in of})
            },
        }
        say(f"{question}: {json.dumps(questions[question]['rules'])}")
    few = [r for r in runs_of(worlds.REPORT, FEW) if r.kind in seen]
    small = {
        f"members, {FEW} completions": measures(few, judged.of_known_kinds(develop, few, "members"))
    }
    return {
        "develop": tally(develop),
        "report": tally(report),
        "calibration": asdict(shipped(develop)),
        "questions": questions,
        "fewer completions": small,
        "predictions": foretold(shipped(develop)),
        "runs": {
            name: [row(r) for r in runs]
            for name, runs in (("develop", develop), ("report", report))
        },
    }


def row(r: Run) -> dict[str, Any]:
    """A run as values of JSON."""
    reads = {k: round(v, DIGITS) for k, v in r.reads.items()}
    return {"kind": r.kind, "seed": r.seed, "d": r.turn.d, "turned": r.turn.turned, **reads}


def from_row(x: dict[str, Any]) -> Run:
    """The run that `row` wrote."""
    reads = {k: v for k, v in x.items() if k not in ("kind", "seed", "d", "turned")}
    return Run(x["kind"], x["seed"], measured.Turn(x["d"], x["turned"]), reads)


def tally(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """Runs of each kind, how many turned, and the quartiles of √KL where they did."""
    out = {}
    for kind in sorted({r.kind for r in runs}):
        mine = [r for r in runs if r.kind == kind]
        turned = [r.turn.d for r in mine if r.turn.turned]
        out[kind] = {
            "seeds": [min(r.seed for r in mine), max(r.seed for r in mine)],
            "runs": len(mine),
            "turned": len(turned),
            "quartiles": np.quantile(turned, [0.25, 0.5, 0.75]).tolist() if turned else None,
        }
    return out


def only(
    runs: Sequence[Run], by: judged.Predicted, kind: str
) -> tuple[list[Run], judged.Predicted]:
    """The runs of one kind and their predictions."""
    at = np.array([r.kind == kind for r in runs])
    mine = judged.Predicted(by.d[at], by.low[at], by.high[at])
    return [r for r in runs if r.kind == kind], mine


def measures(runs: Sequence[Run], by: judged.Predicted) -> dict[str, Any]:
    """Every measure with its interval."""
    seeds = [r.seed for r in runs]
    return {
        name: judged.with_interval(seeds, value) for name, value in judged.scores(runs, by).items()
    }


def differences(
    runs: Sequence[Run], one: judged.Predicted, other: judged.Predicted
) -> dict[str, Any]:
    """How much more of each rank correlation one rule has, on the same resampled seeds."""
    mine, theirs = judged.scores(runs, one), judged.scores(runs, other)
    seeds = [r.seed for r in runs]
    return {
        name: judged.with_interval(seeds, lambda i, n=name: mine[n](i) - theirs[n](i))
        for name in ("rank", "rank within kinds")
    }


def foretold(made: Calibration) -> dict[str, Any]:
    """What `predict` says of the report's runs, as a user is told it: how often it says nothing and
    why, and how often its interval holds where it says something.
    """
    why: Counter[str] = Counter()
    held = []
    for kind in worlds.KINDS:
        for seed in worlds.REPORT:
            path = worlds.place(kind, seed)
            if not path.exists():
                continue
            with np.load(path) as f:
                scores = torch.from_numpy(f["scores"])
                turn = measured.turn(f["d"].astype(float), f["curve"].astype(float))
            said = predict(parting(scores, proxy=0, draws=200), calibration=made)
            why[said.why.split(" is ")[0] if " is " in said.why else said.why] += 1
            if said.d is not None and said.low is not None:
                high = np.inf if said.high is None else said.high
                ends = (np.array([said.low]), np.array([high]))
                of = (np.array([turn.d]), np.array([turn.turned]))
                held.append(bool(measured.covered(*ends, *of)[0]))
    return {
        "said nothing": {k: n for k, n in why.items() if k},
        "predicted": len(held),
        "covered": float(np.mean(held)) if held else None,
    }
