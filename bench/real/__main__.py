"""Steps on a real checkpoint beside TRL's: bench/results/real.json and docs/benchmarks-real.md.

python -m bench.real FOLDER --peer .venv-trl/bin/python        every case: an hour of two idle cores
python -m bench.real FOLDER --peer … --only dpo                some, printed and written nowhere
python -m bench.real FOLDER --peer … --go-on                   those that this machine has not run
python -m bench.real --page                                    the page again, from the results

FOLDER is a causal language model as `save_pretrained` writes it, such as SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.real.cases import CASES, Case
from bench.real.page import page

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS, PAGE = ROOT / "bench" / "results" / "real.json", ROOT / "docs" / "benchmarks-real.md"


def main(argv: list[str]) -> int:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python -m bench.real")
    ask.add_argument("folder", nargs="?", default="", help="the checkpoint's folder")
    ask.add_argument("--peer", help="the interpreter of the environment that TRL is in")
    ask.add_argument("--only", default="", help="cases whose name holds this; writes nothing")
    ask.add_argument(
        "--go-on", action="store_true", help="keep the cases that this machine has run"
    )
    ask.add_argument("--page", action="store_true", help="write the page again, from the results")
    args = ask.parse_args(argv)
    if not args.page:
        if not args.peer or not (Path(args.folder) / "config.json").is_file():
            ask.error("give the folder of a checkpoint, and --peer PYTHON with TRL")
        from bench.speed import machine

        some = [c for c in CASES if args.only in c.name]
        if not some:
            ask.error(f"no case's name holds '{args.only}'; they are {[c.name for c in CASES]}")
        if args.only:
            for c in some:
                one(c, args.folder, args.peer)
            return 0
        about = {"machine": machine.about(), "model": Path(args.folder).name}
        done = kept(about) if args.go_on else {}
        for c in CASES:
            done[c.name] = done.get(c.name) or one(c, args.folder, args.peer)
            found = [done[c.name] for c in CASES if c.name in done]
            RESULTS.write_text(json.dumps({**about, "cases": found}, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())))
    return 0


def kept(about: dict[str, Any]) -> dict[str, Any]:
    """The cases that were run on this machine, by name."""
    if not RESULTS.exists():
        return {}
    found = json.loads(RESULTS.read_text())
    return {r["case"]: r for r in found["cases"]} if found["machine"] == about["machine"] else {}


def one(c: Case, folder: str, peer: str) -> dict[str, Any]:
    """One case: equality first, then rounds by turns, a first one not counted."""
    from bench.speed.against import Side, differences, ratios, summary

    pythons = {"ours": sys.executable, **({} if c.alone else {"peer": peer})}
    equal = [_said(python, "equal", c, folder, name) for name, python in pythons.items()]
    module = "bench.real.worker"
    sides = {
        name: Side(python, name, c, Path(folder), c.rounds + 1, module=module)
        for name, python in pythons.items()
    }
    try:
        said: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(c.rounds + 1):
            for name, side in sides.items():
                said[name].append(side.step())
        out = {
            "case": c.name,
            "first": {name: rounds[0]["seconds"] for name, rounds in said.items()},
            **{name: summary(rounds[1:]) for name, rounds in said.items()},
        }
        if not c.alone:
            out |= {
                "goal": c.goal,
                "apart": differences(*equal),
                "peer_passes": c.peer_passes,
                "ratio": ratios(said["ours"][1:], said["peer"][1:], a_turn=1),
                "peer_versions": sides["peer"].ready,
            }
    finally:
        for side in sides.values():
            side.close()
    print(line(out), flush=True)
    return out


def line(r: dict[str, Any]) -> str:
    """One case in one line."""
    mine = r["ours"]
    said = f"{r['case']}: ours {mine['seconds']:.1f} s and {mine['peak_bytes'] / 2**30:.1f} GiB"
    if "peer" not in r:
        return said
    theirs, ratio = r["peer"], r["ratio"]
    return (
        f"{said}, TRL {theirs['seconds']:.1f} s and {theirs['peak_bytes'] / 2**30:.1f} GiB, ratio "
        f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    )


def _said(python: str, side: str, c: Case, folder: str, of: str) -> dict[str, Any]:
    command = [python, "-m", "bench.real.worker", side, c.name, folder, "1", of]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{of}: {done.stderr[-1500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
