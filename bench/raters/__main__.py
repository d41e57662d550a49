"""Does a general preference model explain human raters better than Bradley–Terry?

python -m bench.raters PATH            some minutes of one core; writes docs/raters.md
python -m bench.raters PATH --pilot    the choice of ridges alone, on seeds 0 and 1

PATH is a file of pairs that several people labelled, JSON lines (gzipped too): `prompt`,
`response_1`, `response_2` and `raters`, a list of 0 (tie), 1 (first) and 2 (second). The label of a
pair is the share of raters that prefer the first response, a tie a half. No row of it is kept.

Both models read counted words; prompts are split into five folds. Two designs are judged, the
second because the first ties what need not be tied:

- one ridge for score and planes; each model chooses its own from `RIDGES`. Seeds 300 to 304.
- a ridge of the planes' own, from `PLANE_RIDGES`, as many; the score has the one that Bradley–Terry
  chose, so that planes that cost too much leave Bradley–Terry itself. Seeds 310 to 314, written
  down after the first design's result.

Ridges are chosen by log-loss on seeds 0 and 1; a seed is that of folds and first planes. Intervals
are Student's over prompts, of the difference in log-loss averaged over the judged seeds.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from assay.core import Rng
from assay.data.memory import in_memory
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_labels import labels
from assay.rewards.fit_preference import held_out_chances
from assay.rewards.fit_words import TextFitter
from assay.rewards.pool import Pool, compared
from assay.rewards.preference_beside import Beside, beside

HERE = Path(__file__).resolve().parents[2]
DIMS = (0, 2, 4)  # 0 is Bradley–Terry
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
PLANE_RIDGES = (3.0, 5.0, 7.0, 9.0, 12.0)  # at 12 planes are gone: Bradley–Terry
PILOT = (0, 1)
DESIGNS = {"one ridge": range(300, 305), "a ridge of the planes' own": range(310, 315)}
FOLDS = 5
LEAST = 0.01  # nats a pair: a smaller gain would not be worth a second model


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.raters", description=__doc__)
    parser.add_argument("path", type=Path, help="a file of pairs with several raters each")
    parser.add_argument("--pilot", action="store_true", help="choose the ridges and stop")
    args = parser.parse_args()
    if not args.path.is_file():
        print(f"skipped: {args.path} is not there; it is a file of pairs with a list of raters")
        return
    rows, several = read(args.path)
    pool = Pool.of(labels(in_memory(rows, "pairs"), drop=True))
    fitter = TextFitter(pool, FitConfig())
    lines = head(pool, several)
    for design, seeds in DESIGNS.items():
        chosen: dict[int, float] = {}
        for dim in DIMS:
            chosen[dim] = pilot(fitter, dim, chosen, design)
        if not args.pilot:
            found = {dim: judged(fitter, dim, chosen, design) for dim in DIMS if dim}
            lines += ["", f"## With {design}", "", *table(found, chosen, design, seeds)]
    if not args.pilot:
        (HERE / "docs" / "raters.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print("\n".join(lines))


def read(path: Path) -> tuple[list[dict[str, Any]], float]:
    """The pairs with their labels, and the share of pairs that raters disagree about.

    Args:
        path: The file.

    Raises:
        SystemExit: A row has other columns, or a rater says something else.
    """
    out, split = [], 0
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        for n, line in enumerate(lines, 1):
            row = json.loads(line)
            raters = row.get("raters") or ["none"]
            if not {"prompt", "response_1", "response_2"} <= set(row) or set(raters) - {0, 1, 2}:
                raise SystemExit(
                    f"{path}, row {n}: prompt, response_1, response_2 and raters (a list of 0, 1 "
                    "and 2) are needed"
                )
            if row["response_1"] == row["response_2"]:
                continue
            share = sum({0: 0.5, 1: 1.0, 2: 0.0}[r] for r in raters) / len(raters)
            split += len(set(raters)) > 1
            both = {"chosen": row["response_1"], "rejected": row["response_2"]}
            out.append({"prompt": row["prompt"], **both, "p": share})
    return out, split / max(1, len(out))


def chances(
    fitter: TextFitter, dim: int, ridges: dict[int, float], design: str, seed: int
) -> Tensor:
    """Out-of-fold chances that the first response is preferred.

    Args:
        fitter: The pairs and their features.
        dim: Coordinates of an embedding.
        ridges: By dimension; 0 is Bradley–Terry.
        design: One of `DESIGNS`.
        seed: Of folds and first planes.
    """
    score = ridges[dim if design == "one ridge" else 0]
    config = FitConfig(members=1, resample="none", ridge=score, seed=seed)
    planes = ridges[dim]
    return held_out_chances(fitter, dim, FOLDS, config, Rng(seed), plane_ridge=planes)


def pilot(fitter: TextFitter, dim: int, chosen: dict[int, float], design: str) -> float:
    """The ridge of the grid with the least log-loss on the pilot's seeds."""
    loss = {}
    for ridge in grid(dim, design):
        each = [chances(fitter, dim, {**chosen, dim: ridge}, design, seed) for seed in PILOT]
        loss[ridge] = sum(against(fitter, q, q).log_loss for q in each) / len(each)
        print(f"{design}, dim {dim}, ridge {ridge:g}: log-loss {loss[ridge]:.4f}", flush=True)
    return min(loss, key=lambda r: loss[r])


def against(fitter: TextFitter, chance: Tensor, plain: Tensor) -> Beside:
    """Two models beside each other on the fitter's pairs."""
    at, p, weight, _ = compared(fitter.pool)
    group = fitter.pool.group[torch.from_numpy(at[:, 0])].numpy()
    return beside(chance, plain, torch.from_numpy(p), group, weight)


def judged(fitter: TextFitter, dim: int, chosen: dict[int, float], design: str) -> Beside:
    """A general preference model beside Bradley–Terry; each prompt's loss is a mean over seeds.

    The seeds' pairs are put one after another with the same prompts, so that a prompt stays one
    observation however many seeds there are.
    """
    seeds = DESIGNS[design]
    at, p, weight, _ = compared(fitter.pool)
    group = fitter.pool.group[torch.from_numpy(at[:, 0])].numpy()
    mine, plain = (
        torch.cat([chances(fitter, d, chosen, design, seed) for seed in seeds]) for d in (dim, 0)
    )
    n = len(seeds)
    labels_ = torch.from_numpy(np.tile(p, n))
    return beside(mine, plain, labels_, np.tile(group, n), np.tile(weight, n))


def verdict(found: Beside) -> str:
    """What may be said of a difference."""
    mean, low, high = found.gain
    if mean is None or low is None or high is None:
        return "undecided"
    if low > LEAST:
        return "shown: the planes help"
    if high < 0:
        return "the planes hurt"
    if high < LEAST:
        return f"no gain of {LEAST} or more"
    return "undecided"


def said(ridges: tuple[float, ...]) -> str:
    """A grid as text."""
    return ", ".join(f"{r:g}" for r in ridges)


def grid(dim: int, design: str) -> tuple[float, ...]:
    """The ridges that a model chooses from."""
    return PLANE_RIDGES if dim and design != "one ridge" else RIDGES


def head(pool: Pool, several: float) -> list[str]:
    """What the page says before its tables.

    Args:
        pool: The pairs.
        several: The share of the file's pairs that raters disagree about.
    """
    at, p, _, tied = compared(pool)
    prompts = len(torch.unique(pool.group[torch.from_numpy(at[:, 0])]))
    return [
        "# Human raters: planes against Bradley–Terry",
        "",
        "Written by `python -m bench.raters PATH` from a file of pairs that three people labelled",
        f"each; they disagree on {several:.0%} of the pairs. A label is the share of raters that",
        f"prefer the first response. {tied:,} pairs whose label is a half are fitted, and not",
        f"judged, which leaves {len(p):,} pairs of {prompts:,} prompts. Both models read counted",
        "words; five folds by prompt. Ridges are chosen by log-loss on seeds 0 and 1, from grids",
        f"of five: {said(RIDGES)}, and {said(PLANE_RIDGES)} of the planes' own (at 12 planes are",
        "gone).",
        f"δ is {LEAST} nats a pair; intervals are over prompts.",
    ]


def table(
    found: dict[int, Beside], chosen: dict[int, float], design: str, seeds: range
) -> list[str]:
    """One design's results.

    Args:
        found: By dimension.
        chosen: The ridge of each dimension.
        design: One of `DESIGNS`.
        seeds: The judged seeds.
    """
    one = next(iter(found.values()))
    lines = [
        f"Judged on seeds {seeds[0]} to {seeds[-1]}.",
        "",
        "| model | ridge | accuracy | log-loss | log-loss saved, 95 % | verdict |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| Bradley–Terry | {chosen[0]:g} | {one.bradley_terry_accuracy:.3f} | "
        f"{one.bradley_terry_log_loss:.4f} | – | – |",
    ]
    for dim, f in found.items():
        mean, low, high = (0.0 if v is None else v for v in f.gain)
        lines.append(
            f"| general preference, dim {dim} | {chosen[dim]:g} | {f.accuracy:.3f} | "
            f"{f.log_loss:.4f} | {mean:+.4f} [{low:+.4f}, {high:+.4f}] | {verdict(f)} |"
        )
    edge = [
        f"{'Bradley–Terry' if d == 0 else f'dim {d}'}"
        for d, r in chosen.items()
        if r in (grid(d, design)[0], grid(d, design)[-1])
    ]
    last = f"At the edge of the grid: {', '.join(edge)}." if edge else "No choice is at an edge."
    return [*lines, "", last]


if __name__ == "__main__":
    main()
