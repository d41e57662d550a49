"""The prediction held against SmolLM2's recorded runs, those of the watch's bench.

`bench.watch.collect smollm2` trained twelve runs and kept, before each, the scores of 64 of the
reference's completions of 24 prompts by its five reward models. Each third and fourth setting is
not what the prediction is about: one has KL in the loss, one stops after three steps. The other six
are policy gradients without KL that go on to the end, over three seeds of training.

A reading is the mean of 96 completions, √KL moves by about 0.5 between two, and gold falls and
rises by chance. So the turning point has a range: that of resampled prompts, with a running mean of
1, 3 or 5 readings, 10 % to 90 %. Gold's deviation under the reference is pooled over the runs of
all seeds, whose reference is the same. The proxy's accuracy is that on the reference's 96
completions at the first reading. The rule and the range were written when the runs had been seen.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assay.audits.members import parting
from assay.audits.turning import predict
from bench.audit import judged, measured
from bench.audit.judged import Run
from bench.watch.collect import place

Array = NDArray[np.float64]
RUNS, WINDOWS, DRAWS = 12, (1, 3, 5), 600


def found() -> list[Path]:
    """The recorded runs that lie here."""
    return [p for p in (place("smollm2", i) for i in range(RUNS)) if p.exists()]


def all_of(develop: Sequence[Run], paths: Sequence[Path]) -> dict[str, Any]:
    """Every run with its measured and its predicted turning point, and how the rules do on those
    that the prediction is about.
    """
    read = [_read(p) for p in paths]
    scale = float(np.sqrt(np.mean([x["gold"][0].var(-1, ddof=1).mean() for x in read])))
    runs = [Run("smollm2", x["about"]["world_seed"], _turn(x, scale), x["reads"]) for x in read]
    rules = {}
    for rule in judged.RULES:
        made = judged.fitted(develop, rule, [r.kind for r in develop])
        rules[rule] = judged.predicted(made, runs, rule)
    rows = []
    for i, (x, r) in enumerate(zip(read, runs, strict=True)):
        about = x["about"]
        by = {k: {"d": p.d[i], "low": p.low[i], "high": p.high[i]} for k, p in rules.items()}
        rows.append(
            {
                **{k: about[k] for k in ("recipe", "stop", "world_seed", "seed")},
                "wrong": about["arguments"]["wrong"],
                "asked": about["recipe"] == "leave_one_out" and about["stop"] is None,
                "d": r.turn.d,
                "turned": r.turn.turned,
                "range": ranged(x["d"], x["gold"], scale),
                "reads": {k: round(v, 6) for k, v in r.reads.items()},
                "said": predict(parting(x["scores"], proxy=0, draws=200)).record(),
                "rules": by,
            }
        )
    return {"runs": rows, "scale": scale, "rules": {k: of_rule(rows, k) for k in judged.RULES}}


def _read(path: Path) -> dict[str, Any]:
    with np.load(path) as f:
        gold, scores = f["gold"].astype(float), torch.from_numpy(f["audited"].astype(float))
        first = torch.from_numpy(f["judges"][0, 0].astype(float))
        reads = judged.reads(scores, None)
        reads["accuracy"] = judged.accuracy(first, torch.from_numpy(gold[0]))
        return {
            "about": ast.literal_eval(str(f["about"])),
            "gold": gold,
            "d": np.sqrt(np.maximum(f["kl"].astype(float), 0)),
            "scores": scores,
            "reads": reads,
        }


def _turn(x: dict[str, Any], scale: float) -> measured.Turn:
    level = x["gold"].mean((1, 2))
    return measured.turn(x["d"], (level - level[0]) / scale)


def ranged(d: Array, gold: Array, scale: float) -> dict[str, float]:
    """Where gold `[T, B, N]` may have turned: the middle 80 % over resampled prompts and windows of
    the running mean, and the share of the resamples that turned.
    """
    draw, found = np.random.default_rng(0), []
    for i in range(DRAWS):
        level = gold[:, draw.integers(gold.shape[1], size=gold.shape[1])].mean((1, 2))
        window = WINDOWS[i % len(WINDOWS)]
        found.append(measured.turn(d, (level - level[0]) / scale, smooth=window))
    low, high = np.quantile([t.d for t in found], [0.1, 0.9])
    share = float(np.mean([t.turned for t in found]))
    return {"low": float(low), "high": float(high), "turned": share}


def of_rule(rows: Sequence[dict[str, Any]], rule: str) -> dict[str, Any]:
    """How one rule does on the runs that the prediction is about.

    Returns:
        covered: intervals that hold; covered at all: those that meet the range of the turn, a
        run's being open above where it did not turn; interval: Clopper and Pearson's, 95 %, of the
        first share; rank: Somers' D; p: the share of all orders of the predictions whose |D| is as
        large; pairs: pairs of runs of known order.
    """
    mine = [x for x in rows if x["asked"]]
    d, turned = np.array([x["d"] for x in mine]), np.array([x["turned"] for x in mine])
    by, low, high = (np.array([x["rules"][rule][k] for x in mine]) for k in ("d", "low", "high"))
    held = int(measured.covered(low, high, d, turned).sum())
    ends = [np.inf if x["range"]["turned"] < 0.9 else x["range"]["high"] for x in mine]
    meets = (low <= ends) & (high >= [x["range"]["low"] for x in mine])
    rank, p = exactly(by, d, turned)
    return {
        "runs": len(mine),
        "covered": held,
        "interval": clopper_pearson(held, len(mine)),
        "covered at all": int(meets.sum()),
        "rank": rank,
        "p": p,
        "pairs": measured.known_pairs(d, turned),
    }


def exactly(by: Array, d: Array, turned: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Somers' D, and the share of all orders of the predictions whose |D| is as large.

    None where no order of two runs is known, or where all predictions are the same.
    """
    rank = measured.concordance(by, d, turned)
    if not np.isfinite(rank) or np.ptp(by) == 0:
        return None, None
    every = [
        measured.concordance(by[list(i)], d, turned) for i in permutations(range(len(by)))
    ]  # 720 of six runs
    return rank, float(np.mean(np.abs(every) >= abs(rank) - 1e-12))


def clopper_pearson(k: int, n: int) -> list[float]:
    """The exact 95 % interval of a share of k in n independent trials.

    Source: Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits".
    """
    from scipy.stats import beta

    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    return [low, float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0]
