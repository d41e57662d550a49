"""Worlds, seeds and runs of the audit's bench, written down before any of them was run.

Seeds 700 … 739 are for developing: features are looked at, the calibration is fitted. Seeds
740 … 799 are for the report, read once when `turning.py` is finished. A seed opens one world of
each kind below: number, noise and label count follow from the seed.

    table-bag-shared, table-bag-idiosyncratic, table-bandit-shared, table-bandit-idiosyncratic:
        noise (0, 0.1, 0.2, 0.3, 0.4)[seed % 5], pairs (200, 400, 1600)[seed % 3], all else as the
        world has it; 100 steps of `leave_one_out` against judge0, read exactly after each step.
    grammar: noise (0.1, 0.25, 0.4)[seed % 3], all else as the world has it; 40 steps of
        `leave_one_out` against judge0, after each step 16 completions of all held-out prompts, at
        the same addresses. Only the first seeds of each range are run, as many as time allows.

Members score 1,024 completions (grammar: 256) of each of 16 held-out prompts (grammar: 32) under
the reference. The measured turning point is that of `measured.py`.

Compared: the prediction of `assay.audits.turning` with the spread of the members at n = 1 alone,
the growth of the spread from n = 1 to the largest, and the proxy's pairwise accuracy on the
reference's completions (which needs gold). Each of these is made into a prediction in the same
way: a regression of log √KL on it, fitted on the same development seeds, with the same kind of
interval. A prediction that is the same for every run is the floor.

Two questions: new seeds of worlds that the calibration knows; and each kind of world when the
calibration was fitted on the other kinds. Measured: rank correlation with censoring over all runs
and within each kind of world, coverage (nominal 80 %) and width of the intervals.

Added on 2026-12-03, after the table's runs and before those that it adds: of `grammar` only seeds
of the report are run, so the calibration has not seen this kind. The table's seeds 740 … 749 are
trained twice more in the same world, with other prompts and completions drawn in training
(`luck.py`): what one run says of another bounds from below what any rule could say that knows the
world and not the luck of its training. SmolLM2's runs are those of the watch's bench
(`smollm2.py`), which had been seen when its rule was written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.core import Rng, Step, World
from assay.recipes.leave_one_out import recipe
from assay.worlds import cache, grammar, table

KINDS = {
    "table-bag-shared": {"testbed": "bag", "mode": "shared"},
    "table-bag-idiosyncratic": {"testbed": "bag", "mode": "idiosyncratic"},
    "table-bandit-shared": {"testbed": "bandit", "mode": "shared"},
    "table-bandit-idiosyncratic": {"testbed": "bandit", "mode": "idiosyncratic"},
    "grammar": {},
}
DEVELOP, REPORT = range(700, 740), range(740, 800)
AGAIN, TIMES = range(740, 750), (1, 2)
FOLDER = cache.folder() / "bench-audit"
GRAMMAR_STEPS, GRAMMAR_READ = 40, 16


def place(kind: str, seed: int, again: int = 0) -> Path:
    """Where a run lies."""
    return FOLDER / f"{kind}-{seed}{f'-again{again}' if again else ''}.npz"


def setting(seed: int) -> dict[str, float]:
    """Noise and label count of the table's world of a seed."""
    return {"noise": (0.0, 0.1, 0.2, 0.3, 0.4)[seed % 5], "pairs": (200, 400, 1600)[seed % 3]}


def world(kind: str, seed: int) -> World:
    """Open the world of a kind and seed."""
    if kind == "grammar":
        return grammar.world(seed=seed, noise=(0.1, 0.25, 0.4)[seed % 3])
    return table.world(seed=seed, **setting(seed), **KINDS[kind])


@torch.no_grad()
def before(w: World, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the audit sees: scores `[M, B, N]` and gold `[B, N]` of the reference's completions."""
    small = w.name == "grammar"
    prompts = w.held_out[: 32 if small else 16]
    x = w.task.reference.sample(prompts, 256 if small else 1024, Rng(seed)("audit"))
    assert w.gold is not None
    return w.task.rewards(x), w.gold(x)[0]


def run(kind: str, seed: int, again: int = 0) -> dict[str, np.ndarray]:
    """Train against judge0 and keep what the audit sees beforehand and what gold says of the run.

    Args:
        kind: Of world.
        seed: Of the world, and of the run.
        again: Above 0, the run draws other prompts and completions in the same world.

    Returns:
        scores `[M, B, N]` and gold `[B, N]` of the reference's completions; d and curve `[T+1]`,
        √KL and mean gold in standard deviations under the reference, from the reference on.
    """
    w = world(kind, seed)
    assert w.loop is not None and w.gold is not None
    small = kind == "grammar"
    scores, gold = before(w, seed)
    loop = replace(w.loop, seed=seed, max_steps=GRAMMAR_STEPS if small else w.loop.max_steps)
    steps = recipe(w.task.replaced(rng=Rng(seed)("run", again)), loop=loop)
    readings = list(_sampled(w, steps, seed) if small else _exact(w, steps))
    level = torch.tensor([r[1] for r in readings], dtype=torch.float64)
    scale = float(gold.double().var(-1).mean().sqrt())
    return {
        "scores": scores.numpy().astype(np.float32),
        "gold": gold.numpy().astype(np.float32),
        "d": np.sqrt(np.maximum([r[0] for r in readings], 0.0)),
        "curve": ((level - level[0]) / scale).numpy(),
    }


def _exact(w: World, steps: Iterator[Step]) -> Iterator[tuple[float, float]]:
    """(KL, gold) of the reference and after each step, exact."""
    assert w.facts is not None
    for policy in chain([w.task.reference], (step.policy for step in steps)):
        found = w.facts(policy)
        yield found["kl"], found["gold"]


def _sampled(w: World, steps: Iterator[Step], seed: int) -> Iterator[tuple[float, float]]:
    """(KL, gold) of the reference and after each step, from completions at one address."""
    assert w.gold is not None
    address = Rng(seed)("readings")
    policies: Iterator[Any] = (step.policy for step in steps)
    policy: Any = w.task.reference
    while policy is not None:
        with torch.no_grad():
            x = policy.sample(w.held_out, GRAMMAR_READ, address)
            kl = float(policy.kl(w.task.reference, x).mean())
            gold = float(w.gold(x)[0].mean())
        if not math.isfinite(kl + gold):
            return
        yield kl, gold
        policy = next(policies, None)


def collect(kind: str, seeds: range, say: Callable[[str], None], again: int = 0) -> None:
    """Make the runs of a kind that are not there yet."""
    for seed in seeds:
        path = place(kind, seed, again)
        if not path.exists():
            found = run(kind, seed, again)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **found)
            part.rename(path)
            most, last, d = found["curve"].max(), found["curve"][-1], found["d"][-1]
            say(f"{path.name}: gold {most:.2f} at most, {last:.2f} at √KL {d:.2f}")
