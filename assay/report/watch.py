"""What the watch said of each run: verdict, evidence as it grew, labels that it cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data.escape import count, number
from assay.records.methods import Ground, Method, Track
from assay.records.verdicts import afterwards, during
from assay.report.chart import Chart, chart
from assay.report.curves import Curve
from assay.report.figure import Picture

FLOOR = (
    -3.0
)  # log10 of evidence below which a curve is not drawn lower: 1 : 1000 for "it has not turned"


def looks(track: Track) -> list[dict[str, Any]]:
    """The verdicts of a run, look by look: its own watch's, else those of a later `assay watch`."""
    folder = track.run.folder
    return during(folder, track.readings) or afterwards(folder)


def verdicts(method: Method) -> list[dict[str, Any]]:
    """For JSON: the last verdict of each watched run."""
    keys = (
        "word",
        "step",
        "best",
        "win",
        "low",
        "high",
        "labels",
        "budget",
        "unusable",
        "alpha",
        "delta",
        "by",
        "reference",
        "says",
    )
    return [
        {
            "run": t.name,
            "after": not any(r.get("watch") for r in t.readings),
            **{k: last.get(k) for k in keys},
        }
        for t in method.tracks
        if (said := looks(t))
        for last in said[-1:]
    ]


@dataclass
class Verdict:
    """What the watch said of one run.

    Attributes:
        method: The run's method.
        run: Its folder.
        said: The verdict and what follows from it, in sentences.
    """

    method: str
    run: str
    said: str


@dataclass
class Panel:
    """What the watch said of the runs of one world.

    Attributes:
        verdicts: A sentence a run.
        evidence: The evidence as it grew, with the height at which it is an alarm, for a screen and
            for a phone; what is guaranteed, and what is not.
    """

    verdicts: list[Verdict]
    evidence: Picture


def panel(ground: Ground, ident: str) -> Panel | None:
    """The verdicts and the evidence of every watched run; None where nothing was watched."""
    watched = [(m, t, said) for m in ground.methods for t in m.tracks if (said := looks(t))]
    if not watched:
        return None
    alarms = {float(said[-1]["log_alarm"]) / math.log(10) for _, _, said in watched}
    curves = [
        Curve(
            np.array([v["step"] for v in said], dtype=float),
            np.array([_height(v) for v in said]),
            m.place,
            "gold",
            label=m.label if len(watched) <= 4 else "",
            method=m.label,
            value="log₁₀ evidence",
        )
        for m, _, said in watched
    ]
    far = max(float(c.x[-1]) for c in curves)
    lines = [
        Curve(np.array([0.0, far]), np.array([a, a]), 6, "other", label="alarm")
        for a in sorted(alarms)
    ]

    def draw(size: str, width: int) -> Chart:
        return chart(
            curves + lines,
            ident=f"{ident}-watch{size}",
            title="Evidence that the run has turned, by step",
            x_label="step",
            y_label="log₁₀ evidence",
            description="; ".join(str(v[-1]["says"]) for _, _, v in watched),
            width=width,
            height=190,
        )

    picture = Picture(draw("w", 790), draw("n", 310), _promise(watched))
    return Panel([_verdict(m, t, said) for m, t, said in watched], picture)


def _height(verdict: dict[str, Any]) -> float:
    evidence = verdict.get("log_evidence")
    return FLOOR if evidence is None else max(FLOOR, float(evidence) / math.log(10))


def _promise(watched: list[tuple[Method, Track, list[dict[str, Any]]]]) -> str:
    last = [said[-1] for _, _, said in watched]
    said = {(float(v["alpha"]), float(v["delta"])) for v in last}
    promises = "; ".join(
        f"at most {number(a)} of the runs that win at least {number(0.5 - d)} against their best "
        "checkpoints "
        "so far (one drawn for each label) at every look are ever stopped"
        for a, d in sorted(said)
    )
    return (
        "At the dotted line a run is stopped. Proved, for fresh prompts, one label a prompt, "
        "blind and in random order: "
        f"{promises}. Intervals hold at all looks at once."
    )


def _verdict(m: Method, t: Track, said: list[dict[str, Any]]) -> Verdict:
    last = said[-1]
    result, beside = t.run.record.result, last.get("reference")
    words = [f"{last['says']}, by {last['by']}."]
    if last["word"] == "stop" and result is not None:
        step = result["best"]["step"]
        what = f"policy of step {step}" if step else "reference"
        words.append(f"The run’s result is the {what}.")
    if beside:
        words.append(
            f"Against the reference it won {beside['win']:.0%} of {count(beside['labels'])} pairs "
            "(a count, no guarantee)."
        )
    words += [
        f"Hint, no guarantee: {h['why']} (since step {h['since']})."
        for h in last.get("hints") or []
    ]
    return Verdict(m.label, t.name, " ".join(words))
