"""Recorded runs of real models: JSON lines, so that the same prediction is held against them.

A line is one run:

    {"kind": "smollm2", "seed": 0, "scores": [[[…]]], "d": […], "gold": […], "gold_deviation": 0.8}

`scores` are those of M reward models for N completions of B prompts by the reference `[M, B, N]`,
null where absent, the one that was trained against first. `d` and `gold` are √KL and mean gold of
the run's readings, from the reference on; `gold_deviation` is gold's standard deviation within a
prompt under the reference, in which a fall is measured.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.audits.members import parting
from assay.audits.turning import Turning, predict
from assay.audits.turning_fit import Calibration
from assay.errors import InputError
from bench.audit import measured

NEEDS = ("kind", "seed", "scores", "d", "gold", "gold_deviation")


def against(
    path: Path, made: Calibration, say: Callable[[str], None]
) -> list[tuple[Turning, measured.Turn]]:
    """Predict each run of a file and measure it.

    Args:
        path: JSON lines as above, or a kept run.
        made: The calibration.
        say: Told both, a run a line.

    Raises:
        InputError: A line lacks something, or its numbers do not fit each other.
    """
    out = []
    for number, run in _runs(path):
        scores, d, gold = _run(path, number, run)
        said, found = predict(parting(scores, proxy=0), calibration=made), measured.turn(d, gold)
        state = "turned" if found.turned else "had not turned"
        say(f"{path.name}, line {number}: {state} at √KL = {found.d:.2f}. {said.lines()[0]}")
        out.append((said, found))
    return out


def _runs(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.suffix != ".npz":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield number, json.loads(line)
        return
    with np.load(path) as f:
        gold, about = f["gold"].astype(float), ast.literal_eval(str(f["about"]))
        yield (
            1,
            {
                "kind": f"{about['world']} {about['recipe']}",
                "seed": about["world_seed"],
                "scores": f["audited"],
                "d": np.sqrt(np.maximum(f["kl"].astype(float), 0)),
                "gold": gold.mean((1, 2)),
                "gold_deviation": float(np.sqrt(gold[0].var(-1, ddof=1).mean())),
            },
        )


def _run(path: Path, number: int, x: dict[str, Any]) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Scores, √KL and gold above the reference in its deviations."""
    lacks = [name for name in NEEDS if name not in x]
    if lacks:
        raise InputError(f"{path}, line {number} has no '{lacks[0]}'; give {', '.join(NEEDS)}")
    d, gold = np.array(x["d"], dtype=float), np.array(x["gold"], dtype=float)
    if len(d) != len(gold) or len(d) < 2 or not x["gold_deviation"] > 0:
        raise InputError(
            f"{path}, line {number} has {len(d)} values of d, {len(gold)} of gold and a "
            f"gold_deviation of {x['gold_deviation']}; give as many of each, 2 or more, and a "
            "deviation above 0"
        )
    scores = torch.from_numpy(np.array(x["scores"], dtype=float))
    return scores, d, (gold - gold[0]) / x["gold_deviation"]
