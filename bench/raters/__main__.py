"""Does a general preference model explain human raters better than Bradley–Terry?

python -m bench.raters PATH            some minutes of one core; writes docs/raters.md
python -m bench.raters PATH --pilot    the choice of ridges alone, on seeds 0 and 1

PATH is a file of pairs that several people labelled, JSON lines (gzipped too): `prompt`,
`response_1`, `response_2` and `raters`, a list of 0 (tie), 1 (first) and 2 (second). The label of a
pair is the share of raters that prefer the first response, a tie a half. No row of it is kept.

Both models read counted words. Prompts are split into five folds. Each side chooses its ridge from
a grid of one size, by log-loss on seeds 0 and 1 (the seeds of the folds and of the first planes),
and is judged on `JUDGED`, which were written down before. The interval is Student's over prompts,
of the difference in log-loss averaged over the judged seeds.
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
PILOT = (0, 1)
JUDGED = (300, 301, 302, 303, 304)
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
    fitter = TextFitter(Pool.of(labels(in_memory(rows, "pairs"), drop=True)), FitConfig())
    chosen = {dim: pilot(fitter, dim) for dim in DIMS}
    if args.pilot:
        return
    found = {dim: judged(fitter, dim, chosen) for dim in DIMS if dim}
    text = page(found, chosen, rows, several)
    (HERE / "docs" / "raters.md").write_text(text, encoding="utf-8")
    print(text)


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


def chances(fitter: TextFitter, dim: int, ridge: float, seed: int) -> Tensor:
    """Out-of-fold chances that the first response is preferred."""
    config = FitConfig(members=1, resample="none", ridge=ridge, seed=seed)
    fitter.config = config
    return held_out_chances(fitter, dim, FOLDS, config, Rng(seed))


def pilot(fitter: TextFitter, dim: int) -> float:
    """The ridge of the grid with the least log-loss on the pilot's seeds."""
    loss = {}
    for ridge in RIDGES:
        each = [chances(fitter, dim, ridge, seed) for seed in PILOT]
        loss[ridge] = sum(against(fitter, q, q).log_loss for q in each) / len(each)
        print(f"dim {dim}, ridge {ridge:g}: log-loss {loss[ridge]:.4f}", flush=True)
    return min(loss, key=lambda r: loss[r])


def against(fitter: TextFitter, chance: Tensor, plain: Tensor) -> Beside:
    """Two models beside each other on the fitter's pairs."""
    at, p, weight, _ = compared(fitter.pool)
    group = fitter.pool.group[torch.from_numpy(at[:, 0])].numpy()
    return beside(chance, plain, torch.from_numpy(p), group, weight)


def judged(fitter: TextFitter, dim: int, chosen: dict[int, float]) -> Beside:
    """A general preference model beside Bradley–Terry; each prompt's loss is a mean over seeds.

    The seeds' pairs are put one after another with the same prompts, so that a prompt stays one
    observation however many seeds there are.
    """
    at, p, weight, _ = compared(fitter.pool)
    group = fitter.pool.group[torch.from_numpy(at[:, 0])].numpy()
    mine, plain = (
        torch.cat([chances(fitter, d, chosen[d], seed) for seed in JUDGED]) for d in (dim, 0)
    )
    n = len(JUDGED)
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


def page(
    found: dict[int, Beside], chosen: dict[int, float], rows: list[Any], several: float
) -> str:
    """The manual's page.

    Args:
        found: By dimension.
        chosen: The ridge of each dimension.
        rows: The pairs.
        several: The share of pairs that raters disagree about.
    """
    one = next(iter(found.values()))
    tied = sum(r["p"] == 0.5 for r in rows)
    lines = [
        "# Human raters: planes against Bradley–Terry",
        "",
        "Written by `python -m bench.raters PATH` from a file of pairs that three people labelled",
        f"each: {len(rows):,} pairs, on {several:.0%} of which the raters disagree. A label is the",
        f"share of raters that prefer the first response; the {tied:,} pairs whose label is a half",
        f"are fitted and not judged, which leaves {one.pairs // len(JUDGED):,} pairs of",
        f"{one.prompts:,} prompts. Five folds by prompt, counted words, one member. Each side",
        f"chose its ridge from {', '.join(f'{r:g}' for r in RIDGES)} on seeds 0 and 1; judged on",
        f"seeds {JUDGED[0]} to {JUDGED[-1]}. δ is {LEAST} nats a pair.",
        "",
        "| model | ridge | accuracy | log-loss | log-loss saved [95 % over prompts] | verdict |",
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
    edge = [d for d, r in chosen.items() if r in (RIDGES[0], RIDGES[-1])]
    said = (
        f"The choice for {', '.join('Bradley–Terry' if d == 0 else f'dim {d}' for d in edge)} lies "
        "at the edge of the grid."
        if edge
        else "No choice lies at the edge of the grid."
    )
    return "\n".join([*lines, "", said]) + "\n"


if __name__ == "__main__":
    main()
