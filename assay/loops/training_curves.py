"""Training curves of small models, and what laws fitted to them foretell of a larger one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from assay.core import InputError, Loop, Rng
from assay.data.faults import Faults
from assay.data.read import open_source
from assay.loops.language_models import (
    characters,
    nats_per_token,
    parameters,
    read,
    trained,
    untrained,
)
from assay.stats.scaling_laws import (
    NO_BATCH,
    TrainingRun,
    critical_batch,
    log_error,
    loss_law,
    persistence,
    shuffled_sizes,
    steps_to,
    token_law,
)

TEST = 256  # rows of text that no model is trained on
FIRST = 20  # the first step at which a loss is read: before it, the warm-up decides
ARMS = ("law", "persistence", "tokens", "no_batch", "shuffled_sizes")


def train(
    rng: Rng, text: str, width: int, batch: int, steps: int, length: int, lr: float
) -> TrainingRun:
    """Train one model and read its loss on rows that it never sees, at log-spaced steps."""
    cut = characters(read(text), length, rng("text"))
    if len(cut.rows) < 2 * TEST:
        raise InputError(f"the text has {len(cut.rows)} rows; {2 * TEST} are needed")
    test, rest = cut.samples(cut.rows[:TEST]), cut.samples(cut.rows[TEST : TEST + 8192])
    model = untrained(cut, width, rng("model", width))
    loop = Loop(max_steps=steps, batch_size=batch, learning_rate=lr, warmup_steps=10)
    at = sorted({round(s) for s in np.geomspace(min(FIRST, steps), steps, 16)})
    order = rng("order", width, batch)
    found = [nats_per_token(model, test) for _ in trained(model, rest, loop, order, at)]
    return TrainingRun(parameters(model), batch, np.array(at, float), np.array(found))


def given(path: Path) -> list[TrainingRun]:
    """Read runs from a file.

    Raises:
        InputError: A row lacks a number, or the file has fewer than four sizes.
    """
    faults = Faults(str(path))
    rows: dict[tuple[float, float], dict[float, float]] = {}
    for i, row in open_source(path).rows(faults):
        try:
            size, batch, step, loss = (float(row[k]) for k in ("size", "batch", "step", "loss"))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}, row {i}: size, batch, step and loss were expected, each a number"
            ) from None
        if not min(size, batch, step, loss) > 0:
            raise InputError(f"{path}, row {i}: size, batch, step and loss must be above 0")
        rows.setdefault((size, batch), {})[step] = loss
    faults.stop()
    if len({size for size, _ in rows}) < 4:
        raise InputError(f"{path} has runs of fewer than four sizes; the largest is held out")
    return [
        TrainingRun(
            size, batch, *(np.array(x, float) for x in zip(*sorted(at.items()), strict=True))
        )
        for (size, batch), at in rows.items()
    ]


def judged(runs: list[TrainingRun], spent: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Fit the laws to all but the largest size, and hold their predictions against that."""
    top = max(r.size for r in runs)
    small, large = [r for r in runs if r.size < top], [r for r in runs if r.size == top]
    for r in runs:
        yield {
            "run": "held out" if r.size == top else "fitted",
            "size": r.size,
            "batch": r.batch,
            "steps": r.steps.tolist(),
            "loss": r.loss.tolist(),
        }
    of_size = {s: [r for r in small if r.size == s] for s in {r.size for r in small}}
    critical = critical_batch(max(of_size.values(), key=lambda x: (len(x), x[0].size)))
    law = loss_law(small, critical)
    yield {
        "law": "L(N, S_min)",
        "log_n_c": law.log_n,
        "alpha_n": law.alpha_n,
        "log_s_c": law.log_s,
        "alpha_s": law.alpha_s,
        "log_b_star": critical.log_star,
        "alpha_b": 1 / critical.power if critical.power else None,
        "critical_batch": list(zip(critical.levels, critical.found, strict=True)),
        "least_loss_of_held_out": law.least(top),
    }
    plain, mixed, tokens = (
        loss_law(small, NO_BATCH),
        loss_law(shuffled_sizes(small), critical),
        token_law(small),
    )
    for r in large:
        said = {
            "law": law(r.size, r.batch, r.steps),
            "persistence": persistence(small, r.batch, r.steps),
            "tokens": tokens(r.size, r.batch, r.steps),
            "no_batch": plain(r.size, r.batch, r.steps),
            "shuffled_sizes": mixed(r.size, r.batch, r.steps),
        }
        errors = {k: log_error(v, r.loss) for k, v in said.items()}
        yield {
            "predicted": "trajectory",
            "size": r.size,
            "batch": r.batch,
            "errors": errors,
            "beats_persistence": errors["law"] < errors["persistence"],
            "last_loss": float(r.loss[-1]),
            "last_predicted": {k: float(v[-1]) for k, v in said.items()},
        }
        level = float(np.sqrt(r.loss[0] * r.loss[-1]))
        yield {
            "predicted": "steps to a loss",
            "batch": r.batch,
            "loss": level,
            "found": reached(r, level),
            **{
                k: reached(TrainingRun(r.size, r.batch, r.steps, v), level) for k, v in said.items()
            },
        }
    theirs = critical_batch(large)
    if theirs.found:
        yield {
            "predicted": "critical batch",
            "at_loss": list(theirs.levels),
            "found": list(theirs.found),
            "law": critical(np.array(theirs.levels)).tolist(),
            "stays": critical.found[-1] if critical.found else None,
        }
    yield from ({"kind": "spent", "arm": arm, **spent} for arm in ARMS if spent)


def reached(run: TrainingRun, level: float) -> float | None:
    """The step at which a run first reaches a loss; None where it does not within its readings."""
    step = steps_to(run, level)
    return step if math.isfinite(step) else None
