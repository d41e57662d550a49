"""bench/results/audit.json: every rule judged on the report's runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from assay.audits.members import parting
from assay.audits.turning import predict
from assay.audits.turning_fit import Calibration
from bench.audit import judged, luck, measured, smollm2, worlds
from bench.audit.judged import Run
from bench.audit.kept import DIGITS, results, row, runs_of, seen
from bench.audit.parts import by_level, by_setting, lean, measures
from bench.audit.resampled import with_interval

FEW = 64  # completions a prompt, of the second reading of the same runs
FEWEST = 10  # runs of a kind; of fewer there is no rank, and each is listed


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
    develop, every = runs_of(worlds.DEVELOP), runs_of(worlds.REPORT)
    kinds = {r.kind for r in develop}
    of_kind = Counter(r.kind for r in every)
    report = [r for r in every if of_kind[r.kind] >= FEWEST]
    known = [r for r in report if r.kind in kinds]
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
                | {"lean": lean(*only(of, by["members"], kind))}
                for kind in sorted({r.kind for r in of})
            },
            "rules by kind": {
                rule: {
                    kind: measures(*only(of, found, kind), ("rank", "coverage"))
                    for kind in sorted({r.kind for r in of})
                }
                for rule, found in by.items()
            },
            "members minus by kind": {
                rule: {
                    kind: differences(
                        *only(of, by["members"], kind), only(of, found, kind)[1], ("rank",)
                    )["rank"]
                    for kind in sorted({r.kind for r in of})
                }
                for rule, found in by.items()
                if rule != "members"
            },
        }
        say(f"{question}: {json.dumps(questions[question]['rules'])}")
    few = [r for r in runs_of(worlds.REPORT, FEW) if r.kind in kinds]
    small = {}
    if len(few) == len(known):
        by = judged.of_known_kinds(develop, few, "members")
        small[f"members, {FEW} completions"] = measures(few, by)
    return {
        "develop": tally(develop),
        "report": tally(every),
        "calibration": asdict(shipped(develop)),
        "questions": questions,
        "fewer completions": small or earlier("fewer completions"),
        "predictions": {
            name: foretold(shipped(develop), [r for r in every if r.kind.startswith(name)])
            or (earlier("predictions") or {}).get(name)
            for name in ("table", "grammar")
        },
        "settings": by_setting(develop, report),
        "levels": by_level(develop, report),
        "listed": listed(develop, [r for r in every if of_kind[r.kind] < FEWEST]),
        "luck": luck.all_of(develop, report) or earlier("luck"),
        "smollm2": smollm2.all_of(develop, paths)
        if (paths := smollm2.found())
        else earlier("smollm2"),
        "runs": {
            name: [row(r) for r in runs] for name, runs in (("develop", develop), ("report", every))
        },
    }


def earlier(name: str) -> Any:
    """A part of the results that are there, for want of the runs that it is made of."""
    return results().get(name)


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


def listed(develop: Sequence[Run], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each run of a kind that has too few for a rank, and what the library's calibration says."""
    by = judged.predicted(shipped(develop), runs, "members")
    held = measured.covered(by.low, by.high, *judged.table(runs, ())[1:])
    return [
        {
            **row(r),
            "predicted": by.d[i],
            "low": by.low[i],
            "high": by.high[i],
            "held": bool(held[i]),
        }
        for i, r in enumerate(runs)
    ]


def differences(
    runs: Sequence[Run],
    one: judged.Predicted,
    other: judged.Predicted,
    names: Sequence[str] = ("rank", "rank within kinds"),
) -> dict[str, Any]:
    """How much more of each rank correlation one rule has, on the same resampled seeds."""
    mine, theirs = judged.scores(runs, one), judged.scores(runs, other)
    seeds = [r.seed for r in runs]
    return {
        name: with_interval(seeds, lambda w, n=name: mine[n](w) - theirs[n](w)) for name in names
    }


def foretold(made: Calibration, runs: Sequence[Run]) -> dict[str, Any] | None:
    """What `predict` says of runs, as a user is told it: how often it says nothing and why, and how
    often its interval holds where it says something. None where a run's scores are gone.
    """
    why: Counter[str] = Counter()
    held = []
    for r in runs:
        x = seen(r.kind, r.seed)
        if x is None:
            return None
        said = predict(parting(x.scores, proxy=0, draws=200), calibration=made)
        why[said.why.split(" is ")[0] if " is " in said.why else said.why] += 1
        if said.d is not None and said.low is not None:
            high = np.inf if said.high is None else said.high
            ends = (np.array([said.low]), np.array([high]))
            of = (np.array([x.turn.d]), np.array([x.turn.turned]))
            held.append(bool(measured.covered(*ends, *of)[0]))
    return {
        "said nothing": {k: n for k, n in why.items() if k},
        "predicted": len(held),
        "covered": float(np.mean(held)) if held else None,
    }
