"""make gpu: steps on one card beside TRL's, in at most 8 minutes; bench/results/gpu.json and
docs/benchmarks-gpu.md.

python -m bench.gpu FOLDER                          FOLDER: SmolLM2 as `save_pretrained` writes it
python -m bench.gpu FOLDER --peer PY --vllm PY      TRL, and TRL with vLLM, of other environments
python -m bench.gpu --page                          the page again, from the results

Everything is a process of its own with a time limit: what fails is named, and the rest is measured.
Without a GPU it is a dry run at tiny sizes, which writes nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu import operations
from bench.gpu.cases import SIDES, Measured, plan
from bench.gpu.page import line, page

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS, PAGE = ROOT / "bench" / "results" / "gpu.json", ROOT / "docs" / "benchmarks-gpu.md"
MOST = 480.0  # seconds
LEAST = 20.0  # seconds with which no process is begun any more


def main(argv: list[str]) -> int:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python -m bench.gpu")
    ask.add_argument("folder", nargs="?", default="", help="SmolLM2's folder")
    ask.add_argument("--peer", default=sys.executable, help="an interpreter that has TRL")
    ask.add_argument("--vllm", default="", help="an interpreter that has TRL and vLLM")
    ask.add_argument("--seconds", type=float, default=MOST, help="how long it may take")
    ask.add_argument("--only", default="", help="processes whose name holds this; writes nothing")
    ask.add_argument("--page", action="store_true", help="write the page again, from the results")
    args = ask.parse_args(argv)
    if not args.page:
        if not (Path(args.folder) / "config.json").is_file():
            ask.error("give the folder of SmolLM2: make gpu MODEL=FOLDER")
        pythons = {"ours": sys.executable, "TRL": args.peer, "TRL with vLLM": args.vllm}
        found = measured(Path(args.folder), pythons, args.seconds, args.only)
        if found["dry"] or args.only:
            failed = [c for c in found["cases"] if c["state"] in ("failed", "timed out")]
            return 1 if failed else 0
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text()) if RESULTS.exists() else None))
    return 0


def measured(folder: Path, pythons: dict[str, str], seconds: float, only: str) -> dict[str, Any]:
    """Everything that there is time for."""
    began = time.monotonic()

    def left() -> float:
        return seconds - (time.monotonic() - began)

    machine = run([sys.executable, "-m", "bench.gpu.worker", "rate"], min(90.0, left()))
    if "reason" in machine:
        raise RuntimeError(f"the card's rate cannot be measured: {machine['reason']}")
    dry = machine["device"] != "cuda"
    how = "dry" if dry else "real"
    if dry:
        print("there is no GPU: a dry run at tiny sizes on the CPU, which writes nothing")
    cases: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        made: dict[str, dict[str, Any]] = {}
        for m in (m for m in plan(dry) if only in m.name):
            if m.model not in made:
                words = ["make", str(folder), m.model, scratch, how]
                command = [sys.executable, "-m", "bench.gpu.worker", *words]
                made[m.model] = run(command, min(120.0, left()))
            cases.append(one(m, made[m.model], pythons, left(), how))
            print(line(cases[-1], machine["rate"]), flush=True)
    took = time.monotonic() - began
    print(f"{took:.0f} s in all", flush=True)
    return {"dry": dry, "machine": machine, "seconds": took, "cases": cases}


def one(
    m: Measured, made: dict[str, Any], pythons: dict[str, str], left: float, how: str
) -> dict[str, Any]:
    """One process, or why there was none."""
    about = {"model": m.model, "kind": m.case.kind, "side": m.side}
    if "reason" in made:
        return {**about, "state": "failed", "reason": f"its model: {made['reason']}"}
    python = pythons.get(m.side, sys.executable)
    if lacking := missing(m.side, python):
        return {**about, "state": "not run", "reason": lacking}
    if left < LEAST:
        return {**about, "state": "not run", "reason": "the time was up"}
    command = [python, "-m", "bench.gpu.worker", "step", made["folder"], m.name, how]
    found = run(command, min(float(SIDES[m.side]), left))
    if "reason" in found:
        return {**about, **found}
    lengths, steps = found.pop("lengths"), m.case.rounds + 1
    drawn = sum(map(sum, lengths)) / steps
    prompts = m.case.prompts * m.case.prompt if m.case.kind == "dpo" else 0
    return {
        **about,
        "state": "measured",
        **found,
        "median": statistics.median(found["seconds"]),
        "tokens": drawn + prompts,
        "operations": operations.step(m.case, made["shape"], lengths) / steps,
    }


def missing(side: str, python: str) -> str:
    """Why a side cannot be run; "" where it can."""
    if (
        side == "ours, sharded"
        and importlib.util.find_spec("assay.models.backbones.sharded") is None
    ):
        return "this assay divides no weights"
    wanted = {"TRL": ["trl"], "TRL with vLLM": ["trl", "vllm"]}.get(side, [])
    if wanted and not python:
        return "no environment with vLLM was named"
    if wanted and shutil.which(python) is None:
        return f"there is no interpreter {python}"
    for name in wanted:
        asks = f"import importlib.util as u; raise SystemExit(u.find_spec('{name}') is None)"
        if subprocess.run([python, "-c", asks], cwd=ROOT, check=False).returncode:
            return f"{name} is not installed"
    return ""


def run(command: list[str], seconds: float) -> dict[str, Any]:
    """The JSON that a process prints; `state` and `reason` where it failed or took too long."""
    env = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # what it starts ends with it
    ) as process:
        try:
            out, err = process.communicate(timeout=max(1.0, seconds))
        except subprocess.TimeoutExpired:
            return {"state": "timed out", "reason": f"it took more than {seconds:.0f} s"}
        finally:
            _end(process.pid)
    lines = out.strip().splitlines()
    if process.returncode or not lines:
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        return {"state": "failed", "reason": last[:500], "tail": err[-3000:]}
    return dict(json.loads(lines[-1]))


def _end(group: int) -> None:
    """Kill a process and what it started, if any of it is left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
