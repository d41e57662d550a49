"""make runs, fit the calibration, judge it, write the page.

python -m bench.audit collect KIND --first 700 --last 740    makes runs that are not there yet
python -m bench.audit again        trains ten worlds of each of the table's kinds twice more
python -m bench.audit calibrate    writes assay/audits/turning_known.py from the development runs
python -m bench.audit report       writes bench/results/audit.json from all runs
python -m bench.audit page         writes docs/audit-bench.md from it
python -m bench.audit recorded FILE    predicts recorded runs of real models, see recorded.py
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from bench.audit import worlds

PARTS = ("collect", "again", "calibrate", "report", "page", "recorded")
ROOT = Path(__file__).resolve().parent.parent.parent
KNOWN = ROOT / "assay" / "audits" / "turning_known.py"
RESULTS, PAGE = ROOT / "bench" / "results" / "audit.json", ROOT / "docs" / "audit-bench.md"


def main(argv: list[str]) -> int:
    """One of the parts."""
    ask = argparse.ArgumentParser(prog="python -m bench.audit")
    ask.add_argument("part", choices=PARTS)
    ask.add_argument("kinds", nargs="*", help="collect: kinds, or all; recorded: files")
    ask.add_argument("--first", type=int, default=worlds.DEVELOP.start)
    ask.add_argument("--last", type=int, default=worlds.DEVELOP.stop, help="not included")
    args = ask.parse_args(argv)
    torch.set_num_threads(1)
    say = lambda text: print(text, flush=True)
    if args.part == "collect":
        for seed in range(args.first, args.last):
            for kind in args.kinds or worlds.KINDS:
                worlds.collect(kind, range(seed, seed + 1), say)
    elif args.part == "again":
        for kind in (k for k in worlds.KINDS if k != "grammar"):
            for again in worlds.TIMES:
                worlds.collect(kind, worlds.AGAIN, say, again)
    elif args.part == "calibrate":
        from bench.audit import kept, report

        KNOWN.write_text(report.source(report.shipped(kept.runs_of(worlds.DEVELOP))), "utf-8")
        print(KNOWN)
    elif args.part == "report":
        from bench.audit import report

        RESULTS.write_text(json.dumps(report.all_of(say), indent=1) + "\n", encoding="utf-8")
    elif args.part == "recorded":
        from assay.audits.turning_known import KNOWN as known
        from bench.audit import recorded

        for path in args.kinds:
            recorded.against(Path(path), known, say)
    else:
        from bench.audit import page

        PAGE.write_text(page.page(json.loads(RESULTS.read_text("utf-8"))), encoding="utf-8")
        print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
