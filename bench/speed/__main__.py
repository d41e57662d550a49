"""make bench: time everything, write bench/results/speed.json and docs/benchmarks.md.

python -m bench.speed --peer .venv-trl/bin/python --second .venv-tune/bin/python
                                                     everything: half an hour of two cores
python -m bench.speed --peer … --only 0.35M          some cases, printed and written nowhere
python -m bench.speed --peer … --part curves,growth  some parts again, the others as they are
python -m bench.speed --page                         the page again, from the results
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = (
    "machine",
    "against",
    "second",
    "curves",
    "members",
    "heads",
    "log_probs",
    "imports",
    "files",
    "growth",
)
RESULTS, PAGE = ROOT / "bench" / "results" / "speed.json", ROOT / "docs" / "benchmarks.md"


def main(argv: list[str]) -> int:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python -m bench.speed")
    ask.add_argument("--peer", help="the interpreter of the environment that TRL is in")
    ask.add_argument(
        "--second",
        help="the interpreter of the environment that torchtune is in; without it that part is "
        "left out",
    )
    ask.add_argument(
        "--only", default="", help="cases whose name holds this; prints, writes nothing"
    )
    ask.add_argument("--part", default="", help=f"of {', '.join(PARTS)}; all by default")
    ask.add_argument(
        "--page", action="store_true", help="write the page from the results that are there"
    )
    args = ask.parse_args(argv)

    def say(text: str) -> None:
        print(text, flush=True)

    if not args.page:
        if not args.peer:
            ask.error(
                "--peer PYTHON names the interpreter of an environment with TRL (make bench makes "
                "one)"
            )
        if "second" in args.part.split(",") and not args.second:
            ask.error(
                "--second PYTHON names the interpreter of an environment with torchtune (make "
                "bench makes one)"
            )
        from assay.engine import memory
        from bench.speed import against, alone, cases, files, growth, machine

        memory.keep()
        if args.only:
            against.all_of(args.peer, say, args.only)
            if args.second:
                against.all_of(args.second, say, args.only, "second")
            return 0
        sizes = {cases.SMALL: 5, cases.LARGE: 2}
        make: dict[str, Callable[[], Any]] = {
            "machine": machine.about,
            "against": lambda: against.all_of(args.peer, say),
            "second": lambda: against.all_of(args.second, say, side="second"),
            "curves": lambda: against.curves(args.peer),
            "members": lambda: {s.name: alone.members(s, n) for s, n in sizes.items()},
            "heads": lambda: {s.name: alone.five_heads(s, n) for s, n in sizes.items()},
            "log_probs": alone.log_probs,
            "imports": alone.imports,
            "growth": growth.all_of,
            "files": lambda: {
                "curve": files.curve(),
                "bon": files.bon(),
                "check": files.check(),
                "report": files.report(),
            },
        }
        found = json.loads(RESULTS.read_text(encoding="utf-8")) if args.part else {}
        for part in (
            args.part.split(",")
            if args.part
            else [p for p in PARTS if p != "second" or args.second]
        ):
            found[part] = make[part]()
            RESULTS.write_text(
                json.dumps(found, indent=1) + "\n", encoding="utf-8"
            )  # a part that is done stays done
            say(f"{part}: done")
    from bench.speed import page

    PAGE.write_text(page.page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    say(str(PAGE))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
