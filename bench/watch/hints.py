"""What the free signals are worth: how often each fires before a run has turned, or in one that
never does, and how early.

    python bench/watch/hints.py [--seeds 20]

`table`: the bag and the bandit, shared and idiosyncratic errors, which turn; and 8,000 clean pairs
in the idiosyncratic mode, which does not. A run has turned at the step of its highest exact gold,
if it later falls by a tenth of what it had gained.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import torch

from assay.core import Loop
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.registry import catalogue
from assay.watch.config import WatchConfig
from assay.worlds import table

NAMES = (
    "disagreement",
    "KL acceleration",
    "entropy collapse",
    "length drift",
    "repetition drift",
    "held-out proxy",
)
CELLS: list[dict[str, Any]] = [
    {"testbed": t, "mode": m} for t in ("bag", "bandit") for m in ("shared", "idiosyncratic")
]
CELLS += [{"testbed": "bag", "mode": "idiosyncratic", "pairs": 8000, "noise": 0.0}]


def runs(seeds: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Every cell and seed, watched by nobody who could stop it."""
    recipe = catalogue.load(catalogue.find("leave_one_out")).recipe
    for cell in CELLS:
        for seed in range(seeds):
            world = table.world(seed=seed, **cell)
            loop = catalogue.loop_of(recipe, world.loop, {"seed": seed})
            assert isinstance(loop, Loop)
            watch = WatchConfig(alpha=1e-9, budget=10_000, calm=4, alert=4, reference=0, kept=1)
            yield (
                cell,
                [
                    r
                    for r in measure(
                        recipe,
                        world,
                        loop=loop,
                        config=MeasureConfig(eval_steps=5, eval_generations=4, log_completions=0),
                        watch=watch,
                    )
                    if r.get("watch")
                ],
            )


def turned(readings: list[dict[str, Any]]) -> int | None:
    """The step at which gold is highest, None where it does not fall afterwards."""
    gold = [r["stats"]["exact/gold"] for r in readings]
    top = max(range(len(gold)), key=gold.__getitem__)
    return readings[top]["step"] if gold[-1] < gold[top] - 0.1 * abs(gold[top] - gold[0]) else None


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--seeds", type=int, default=20)
    seeds = ask.parse_args().seeds
    torch.set_num_threads(1)
    early: dict[str, list[bool]] = {n: [] for n in NAMES}
    after: dict[str, list[int | None]] = {n: [] for n in NAMES}
    whole = fell = 0
    for _, readings in runs(seeds):
        turn = turned(readings)
        whole, fell = whole + 1, fell + (turn is not None)
        for n in NAMES:
            fired = [r["step"] for r in readings if n in {h["name"] for h in r["watch"]["hints"]}]
            early[n].append(any(turn is None or s < turn for s in fired))
            if turn is not None:
                late = [s - turn for s in fired if s >= turn]
                after[n].append(late[0] if late else None)
    print(
        f"{whole} runs, {fell} of them turn\n\nsignal | fires before a turn, or without one | "
        "fires after it | steps after it"
    )
    for n in NAMES:
        got = sorted(s for s in after[n] if s is not None)
        median = got[len(got) // 2] if got else "–"
        print(
            n,
            "|",
            f"{sum(early[n])}/{len(early[n])}",
            "|",
            f"{len(got)}/{len(after[n])}",
            "|",
            median,
        )


if __name__ == "__main__":
    main()
