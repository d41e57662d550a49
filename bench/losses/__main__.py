"""Preference losses by noise, number of pairs, a labelers' taste and the size of lists.

python -m bench.losses            runs what is missing, 7,140 runs of .35 seconds, 21 minutes of two
                                  idle cores; goes on where it was
python -m bench.losses CONDITION  the same for one condition, 990 runs
python -m bench.losses page       writes the tables of docs/preference-losses.md
python -m bench.losses rates      what the rate alone does where labelers have a taste, a minute

Each loss is tuned by final gold on ten seeds (`cases.py`), for each condition by itself, and
judged on twenty others; so the table says what a loss can do, not what its defaults do. Results
tuned on five seeds stay until all losses of their condition are run again; the tables mark them.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench.losses import cases

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "bench" / "results" / "losses.json", ROOT / "docs" / "preference-losses.md"
RATES_OF = "labelers with a taste"
BEGIN, END = "<!-- tables: python -m bench.losses page -->", "<!-- end of tables -->"

Arm = tuple[str, dict[str, Any], dict[str, Any]]  # recipe, its arguments, the world's


def grid(recipe: str, fixed: dict[str, Any], name: str, values: Any, rates: Any) -> list[Any]:
    """The settings of a loss."""
    return [
        (recipe, {**fixed, name: v, "learning_rate": r})
        for v, r in itertools.product(values, rates)
    ]


def arms() -> Iterator[tuple[str, str, list[Any], dict[str, Any]]]:
    """(condition, loss, its settings, the world's arguments) of everything that is compared."""
    for condition, world in cases.CONDITIONS.items():
        for loss, (recipe, own, name, values) in cases.PAIRS.items():
            fixed = {k: world["noise"] if v == "noise" else v for k, v in own.items()}
            yield (
                condition,
                loss,
                grid(recipe, {**cases.STEPS, **fixed}, name, values, cases.RATES),
                world,
            )
    for size, loss in itertools.product(cases.SIZES, cases.LISTS):
        fixed = {
            **cases.LIST_STEPS,
            "loss": loss,
            "num_generations": size,
            "batch_size": cases.LISTED // size,
        }
        yield (
            f"lists of {size}",
            loss,
            grid("lipo", fixed, "beta", cases.LIST_BETAS, cases.LIST_RATES),
            cases.LIST_WORLD,
        )


def end_of(recipe: str, own: dict[str, Any], world: dict[str, Any], seed: int) -> dict[str, float]:
    """Gold and KL of the last policy of a run."""
    import torch

    import assay

    torch.set_num_threads(1)
    places = {f"world__{k}": v for k, v in world.items()}
    run = assay.train(
        recipe,
        world="table",
        world__seed=seed,
        seed=seed,
        eval_steps=own["max_steps"],
        quiet=True,
        **places,
        **own,
    )
    last = [r for r in run.readings if r["tag"] != "best"][-1]
    return {"gold": last["gold"], "kl": last["kl"]}


def judged(job: tuple[str, str, list[Any], dict[str, Any]]) -> dict[str, Any]:
    """Tune a loss in a condition, and run its best setting on the judged seeds."""
    condition, loss, settings, world = job
    tuned = [
        statistics.fmean(end_of(*s, world, seed)["gold"] for seed in cases.TUNED_ON)
        for s in settings
    ]
    recipe, own = settings[max(range(len(settings)), key=tuned.__getitem__)]
    ends = [end_of(recipe, own, world, seed) for seed in cases.JUDGED_ON]
    return {
        "condition": condition,
        "loss": loss,
        "constants": own,
        "tuned_on": len(cases.TUNED_ON),
        "tuned": max(tuned),
        "gold": [e["gold"] for e in ends],
        "kl": [e["kl"] for e in ends],
    }


def run(only: str = "") -> None:
    """Run what no result is there for, and write each result as it comes.

    Args:
        only: A condition, or "" for all.
    """
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    done = {(r["condition"], r["loss"]) for r in found if r.get("tuned_on") == len(cases.TUNED_ON)}
    jobs = [a for a in arms() if only in ("", a[0]) and (a[0], a[1]) not in done]
    with ProcessPoolExecutor(2) as pool:
        for result in pool.map(judged, jobs):
            found.append(result)
            RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(result["condition"], result["loss"], statistics.fmean(result["gold"]), flush=True)


def page() -> None:
    """Write the tables between the marks of the page."""
    from bench.losses.tables import tables

    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    made = tables(json.loads(RESULTS.read_text("utf-8")))
    PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n{END}{after}", encoding="utf-8")


def rates() -> None:
    """Print the ends of losses at the smallest β at two rates, each on the first judged seeds.

    It shows how much of the table's column hangs on the rate that the seeds for tuning chose. That
    .1 is the better rate is known from these seeds, so the differences at it are no verdict.
    """
    condition = RATES_OF
    world = cases.CONDITIONS[condition]
    losses = ("DPO", "rDPO", "hinge on log-ratios", "KTO")
    settings = [(loss, rate) for loss in losses for rate in (0.1, 0.3)]
    ends: dict[tuple[str, float], list[float]] = {}
    with ProcessPoolExecutor(2) as pool:
        for (loss, rate), gold in zip(settings, pool.map(ends_at, settings), strict=True):
            ends[loss, rate] = gold
            print(f"{loss}, rate {rate}: {_spoken(gold)}", flush=True)
    plain = ends["DPO", 0.1]
    for (loss, rate), gold in ends.items():
        less = [a - b for a, b in zip(gold, plain, strict=True)]
        print(f"{loss}, rate {rate}, minus DPO at rate 0.1: {_spoken(less)}")
    print(f"{condition}: {world}, seeds {cases.RATES_ON}")


def _spoken(values: list[float]) -> str:
    """A mean with half of its 95 % Student interval."""
    from assay.stats.paired import difference

    found = difference(values)
    return f"{found['mean']:.2f} ± {found['half']:.2f}"


def ends_at(setting: tuple[str, float]) -> list[float]:
    """Final gold of a loss at its smallest β and a rate, where labelers have a taste."""
    loss, rate = setting
    world = cases.CONDITIONS[RATES_OF]
    recipe, own, name, values = cases.PAIRS[loss]
    fixed = {k: world["noise"] if v == "noise" else v for k, v in own.items()}
    constants = {**cases.STEPS, **fixed, name: min(values), "learning_rate": rate}
    return [end_of(recipe, constants, world, seed)["gold"] for seed in cases.RATES_ON]


if __name__ == "__main__":
    words = {"": run, "page": page, "rates": rates}
    if (word := " ".join(sys.argv[1:])) in words:
        words[word]()
    elif word in {a[0] for a in arms()}:
        run(word)
    else:
        sys.exit(f"bench.losses has no {word!r}; it takes page, rates, a condition, or nothing")
