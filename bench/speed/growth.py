"""How cost grows: the exponent of seconds against what is doubled, by least squares on logarithms,
with its error.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from assay.core.rng import Rng
from assay.rewards.ensemble import Members
from bench.speed import cases, files, ours
from bench.speed.alone import timed
from bench.speed.cases import SMALL, Case


def fit(x: Sequence[float], y: Sequence[float]) -> dict[str, Any]:
    """Slope of log y on log x and its standard error."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    sxx = sum((v - ma) ** 2 for v in a)
    slope = sum((u - ma) * (v - mb) for u, v in zip(a, b, strict=True)) / sxx
    rest = sum((v - mb - slope * (u - ma)) ** 2 for u, v in zip(a, b, strict=True))
    return {
        "at": list(x),
        "seconds": list(y),
        "exponent": slope,
        "error": math.sqrt(rest / max(1, len(a) - 2) / sxx),
    }


def _case(**changed: int) -> Case:
    base = {"prompts": 32, "answers": 8, "prompt": 8, "most": 24} | changed
    return Case(
        "growth",
        "grpo",
        SMALL,
        base["prompts"],
        base["answers"],
        base["prompt"],
        base["most"],
        base["most"],
    )


def _step(c: Case, folder: Path) -> Callable[[], Any]:
    step = ours.stepper(c, folder, steps=64)
    return step


def all_of(rounds: int = 3) -> dict[str, dict[str, Any]]:
    """Against answers a prompt, tokens an answer, members, vocabulary, and readings of a report."""
    out: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours.write_model(SMALL, folder)
        for what, key, at in (
            ("answers a prompt", "answers", (4, 8, 16, 32)),
            ("tokens an answer", "most", (24, 48, 96, 192)),
        ):
            seen = timed({str(v): _step(_case(**{key: v}), folder) for v in at}, rounds)
            out[f"GRPO step, {what}"] = fit(at, list(seen.values()))
        p = ours.policy(cases.case("reward 0.35M"), folder)
        data = ours.pairs_of(cases.case("reward 0.35M"), p, 128)
        M = (1, 2, 4, 8)
        panel = [
            Members(ours.config(SMALL), m, Rng(0)).freeze(tuple(str(i) for i in range(m)))
            for m in M
        ]
        seen = timed({str(m): lambda j=j: j(data) for m, j in zip(M, panel, strict=True)}, rounds)
        out["scores of 256 answers, members"] = fit(M, list(seen.values()))
    from assay.formulas.token_logps import token_logps

    V = (4096, 8192, 16384, 32768)
    h, y = torch.randn(1024, 128), torch.zeros(1024, dtype=torch.int64)
    heads = [torch.randn(v, 128) for v in V]
    seen = timed(
        {str(v): lambda w=w: token_logps(h, w, y) for v, w in zip(V, heads, strict=True)}, rounds
    )
    out["log-probabilities, vocabulary"] = fit(V, list(seen.values()))
    R = (40, 80, 160)
    out["report of 10 runs, readings a run"] = fit(R, [files.report(10, r) for r in R])
    return out
