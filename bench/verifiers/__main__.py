"""Methods that learn from a verifier, at equal completions and updates and on one grid of rates.

python -m bench.verifiers           runs what is missing, about 900 runs of 5 seconds, 40 minutes of
                                    two idle cores; goes on where it was
python -m bench.verifiers seconds   measures how long each trains, by turns: on an idle machine,
                                    six minutes
python -m bench.verifiers page      writes the tables of docs/verifier-methods.md

Every method is tuned by its final accuracy on five seeds (`cases.py`) and judged on twelve others,
at its best rate and at that of GRPO.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.verifiers import cases

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "bench" / "results" / "verifiers.json", ROOT / "docs" / "verifier-methods.md"
BEGIN, END = "<!-- tables: python -m bench.verifiers page -->", "<!-- end of tables -->"


def end_of(recipe: str, own: dict[str, Any], rate: float, seed: int) -> dict[str, float]:
    """Train once, and read the last policy on problems that no method saw.

    Args:
        recipe: Its name.
        own: Its constants.
        rate: The learning rate.
        seed: Of the world and of the run.

    Returns:
        `accuracy`, `pass` (a right one among `READ`), `entropy` in nats a token, `length` in
        tokens, `generated` completions, `updates`, and `seconds` of training.
    """
    import torch

    from assay.core import Loop, Rng
    from assay.engine.parallel import meter
    from assay.loops.statistics import rollout_stats
    from assay.registry import catalogue

    torch.set_num_threads(1)
    world = catalogue.load_world("sums")(seed=seed, **cases.WORLD)
    train = catalogue.load(catalogue.find(recipe)).recipe
    loop = Loop(
        max_steps=cases.STEPS,
        batch_size=cases.PROMPTS,
        num_generations=cases.COMPLETIONS,
        epochs=cases.UPDATES,
        learning_rate=rate,
        seed=seed,
    )
    counts = dict.fromkeys(meter.counts, 0)
    policy, begun = world.task.reference, time.perf_counter()
    with meter.charging(counts):
        for step in train(world.task, loop=loop, **own):
            policy = step.policy
            if counts["generated"] >= cases.BUDGET:
                break
    taken = time.perf_counter() - begun
    with meter.lifted(), torch.no_grad():
        x = policy.sample(world.held_out, cases.READ, Rng(seed)("bench verifiers"))
        right = world.gold(x)[0]
        read = rollout_stats([(x, right)])
    return {
        "accuracy": float(right.mean()),
        "pass": float((right > 0.5).any(1).double().mean()),
        "entropy": read["entropy"],
        "length": read["completions/mean_length"],
        "generated": counts["generated"],
        "updates": counts["updates"],
        "seconds": taken,
    }


def judged(name: str, baseline_rate: float = 0.0) -> dict[str, Any]:
    """Tune a method, and run it at its best rate and at the baseline's on the judged seeds.

    Args:
        name: Of a method.
        baseline_rate: GRPO's best rate; 0 for GRPO itself.
    """
    recipe, own = (cases.METHODS | cases.HELPED)[name]
    tuned = {
        rate: statistics.fmean(
            end_of(recipe, own, rate, seed)["accuracy"] for seed in cases.TUNED_ON
        )
        for rate in cases.RATES
    }
    best = max(tuned, key=tuned.__getitem__)
    ends = {
        rate: [end_of(recipe, own, rate, seed) for seed in cases.JUDGED_ON]
        for rate in {best, baseline_rate or best}
    }
    return {
        "method": name,
        "recipe": recipe,
        "constants": own,
        "rate": best,
        "tuned": tuned,
        "ends": ends[best],
        "at baseline's rate": ends[baseline_rate or best],
    }


def run() -> None:
    """Run what no result is there for, and write each result as it comes."""
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []

    def kept(result: dict[str, Any]) -> None:
        found.append(result)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        accuracy = statistics.fmean(e["accuracy"] for e in result["ends"])
        print(result["method"], f"rate {result['rate']:g}, accuracy {accuracy:.3f}", flush=True)

    if cases.BASELINE not in {r["method"] for r in found}:
        kept(judged(cases.BASELINE))
    rate = next(r["rate"] for r in found if r["method"] == cases.BASELINE)
    done = {r["method"] for r in found}
    with ProcessPoolExecutor(2) as pool:
        todo = [m for m in cases.METHODS | cases.HELPED if m not in done]
        for result in pool.map(partial(judged, baseline_rate=rate), todo):
            kept(result)


def seconds() -> None:
    """Time every method by turns, one process alone, and keep the median of three runs."""
    found = json.loads(RESULTS.read_text("utf-8"))
    taken: dict[str, list[float]] = {r["method"]: [] for r in found}
    for seed in cases.TIMED_ON:
        for r in found:
            end = end_of(r["recipe"], r["constants"], r["rate"], seed)
            taken[r["method"]].append(end["seconds"])
            print(r["method"], f"{end['seconds']:.1f} s", flush=True)
    for r in found:
        r["seconds"] = statistics.median(taken[r["method"]])
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def page() -> None:
    """Write the tables between the marks of the page."""
    from bench.verifiers.tables import tables

    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    made = tables(json.loads(RESULTS.read_text("utf-8")))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    words = {"": run, "seconds": seconds, "page": page}
    if (word := " ".join(sys.argv[1:])) in words:
        words[word]()
    else:
        sys.exit(f"bench.verifiers has no {word!r}; it takes seconds, page, or nothing")
