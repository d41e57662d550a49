"""make bench-watch: simulate, collect, replay, write the page.

python -m bench.watch simulate   writes bench/results/watch-simulated.json (15 minutes of one core)
python -m bench.watch replay     writes bench/results/watch-runs.json, from the runs of
                                 bench.watch.collect
python -m bench.watch signals    writes its part about signals that cost nothing again
python -m bench.watch ceiling    writes its part about what labels could reach that say who is
                                 better, and not by how much
python -m bench.watch kept       writes its part about how much any rule could keep with the same
                                 labels
python -m bench.watch page       writes docs/watch-bench.md from both
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from bench.watch import collect

RESULTS = Path(__file__).resolve().parent.parent / "results"
PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "watch-bench.md"


def main(argv: list[str]) -> int:
    """One of the three parts."""
    ask = argparse.ArgumentParser(prog="python -m bench.watch")
    ask.add_argument("part", choices=("simulate", "replay", "signals", "ceiling", "kept", "page"))
    ask.add_argument("--runs", type=int, default=5000, help="simulated runs of each null")
    ask.add_argument(
        "--cell", type=int, default=250, help="simulated runs of each of the four change points"
    )
    ask.add_argument(
        "--world",
        choices=(*collect.OPEN, "both"),
        default="both",
        help="replay: which runs; the rest stays; both are table and grammar",
    )
    ask.add_argument(
        "--folder",
        default=str(collect.FOLDER),
        help="replay: where the runs of bench.watch.collect are",
    )
    ask.add_argument(
        "--made",
        default="",
        help="replay: which sources made the runs that have not noted it, for the page",
    )
    ask.add_argument("--draws", type=int, default=10, help="kept: draws of labels for each run")
    ask.add_argument(
        "--only",
        default="",
        help="simulate: names of settings, nulls, traps, jitter, rivals; ; between",
    )
    args = ask.parse_args(argv)
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    if args.part == "simulate":
        from bench.watch import simulated

        path, only = RESULTS / "watch-simulated.json", [x for x in args.only.split(";") if x]
        found = simulated.all_of(args.runs, args.cell, lambda text: print(text, flush=True), only)
        if only and path.exists():
            found = simulated.merged(json.loads(path.read_text(encoding="utf-8")), found)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    elif args.part in ("replay", "signals", "ceiling", "kept"):
        from bench.watch import replayed

        path, worlds = (
            RESULTS / "watch-runs.json",
            ("table", "grammar") if args.world == "both" else (args.world,),
        )
        old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        say = lambda text: print(text, flush=True)
        if args.part == "replay":
            found = replayed.all_of(say, Path(args.folder), worlds, args.made)
        elif args.part == "signals":
            found = {
                w: {**old[w], "hints": h}
                for w, h in replayed.signals_alone(Path(args.folder), worlds).items()
            }
        elif args.part == "kept":
            from bench.watch import ceilings

            each = {w: ceilings.ceilings(say, Path(args.folder), w, args.draws) for w in worlds}
            found = {"kept": {**old.get("kept", {}), **each}}
        else:
            found = {
                "ceiling": {
                    **old.get("ceiling", {}),
                    **replayed.ceiling(say, Path(args.folder), worlds),
                }
            }
        path.write_text(json.dumps({**old, **found}, indent=1) + "\n", encoding="utf-8")
    else:
        from bench.watch import page

        PAGE.write_text(page.page(RESULTS), encoding="utf-8")
        print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
