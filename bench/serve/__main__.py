"""make bench-serve: 200 clients of a served reward for two minutes, through two restarts.

python -m bench.serve       both sizes, in a thread and in processes; writes the results
python -m bench.serve --seconds 20 --size 0.35M    a short look, printed and written nowhere
python -m bench.serve --page             the page again, from the results
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS, PAGE = ROOT / "bench" / "results" / "serve.json", ROOT / "docs" / "serve-bench.md"


def main(argv: list[str]) -> int:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python -m bench.serve")
    ask.add_argument("--seconds", type=float, default=120.0, help="of load, the restarts included")
    ask.add_argument("--clients", type=int, default=200)
    ask.add_argument("--members", type=int, default=3)
    ask.add_argument("--size", default="", help="one size of a member; prints, writes nothing")
    ask.add_argument(
        "--flags", action="append", help="flags of assay serve, in one text; may recur"
    )
    ask.add_argument("--folder", default="", help="keeps the rewards for the next time")
    ask.add_argument("--page", action="store_true", help="write the page from the results")
    args = ask.parse_args(argv)
    from bench.serve import page

    if not args.page:
        from bench.serve import fitted, measure
        from bench.speed import machine

        busy = os.getloadavg()[0]
        names = [args.size] if args.size else list(fitted.SIZES)
        flags = args.flags or ["", f"--workers {os.cpu_count()}"]
        cases = [measure.case(fitted.SIZES[name], f, args) for name in names for f in flags]
        found = {"machine": {**machine.about(), "load_before": busy}, "cases": cases}
        print(page.tables(found))
        if args.size:
            return 0
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    PAGE.write_text(page.page(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
