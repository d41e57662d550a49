"""Coverage-guided fuzzing by atheris: `python -m fuzz.guided OUT --inputs 1000000`.

atheris (libFuzzer) instruments the bytecode of assay, keeps every input that reaches a new branch,
and damages those again by `mutations`. It ends its process, so each target has a child of one that
has imported everything. An input that breaks a promise is kept in OUT, one for each cause, and the
search goes on; one that ends the process is kept too, and another child goes on after it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

PER_INPUT = 300  # seconds of wall time after which libFuzzer ends the process of an input
LIVES = 5  # processes that one target may lose
FIRST = 20.0  # seconds at least that each target gets, whatever the others took


def search(out: Path, inputs: int, seconds: float, jobs: int, names: Sequence[str] = ()) -> int:
    """Fuzz every target, each with its share of the inputs.

    Args:
        out: Where counts, corpora and what was found are written.
        inputs: How many in all.
        seconds: Wall time that all may take.
        jobs: Processes at a time.
        names: Only these targets.

    Returns:
        How many inputs were tried.
    """
    import atheris

    with atheris.instrument_imports(include=["assay"], enable_loader_override=False):
        from fuzz.targets import TARGETS
    chosen = {k: t for k, t in TARGETS.items() if not names or k in names}
    whole = sum(t.share for t in chosen.values())
    left = {k: max(1, round(inputs * t.share / whole)) for k, t in chosen.items()}
    began, lives = time.monotonic(), dict.fromkeys(left, LIVES)
    waiting, running = list(left), dict[int, str]()
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            rest = seconds - (time.monotonic() - began)
            ahead = sum(left[k] for k in (*waiting, *running.values()))
            mine = max(FIRST, rest * jobs * left[name] / max(1, ahead + left[name]))
            running[_child(chosen[name], left[name], min(mine, max(FIRST, rest)), out)] = name
        pid, status = os.wait()
        name = running.pop(pid)
        done = _read(out, name).get("runs", 0)
        lives[name] -= 1
        if status and lives[name]:  # ended by an input, which libFuzzer kept
            waiting.append(name)
            left[name] = max(1, left[name] - done)
        print(f"{name}: {done:,} inputs, status {status}", flush=True)
    return sum(int(_read(out, k).get("runs", 0)) for k in chosen)


def _child(target: Any, runs: int, seconds: float, out: Path) -> int:
    """Start a process that fuzzes one target."""
    pid = os.fork()
    if pid == 0:
        try:
            _fuzz(target, runs, seconds, out)
        finally:
            os._exit(1)  # atheris never returns
    return pid


def _fuzz(target: Any, runs: int, seconds: float, out: Path) -> None:
    """Fuzz one target until its runs or its seconds are over; then the process ends."""
    import atheris

    from fuzz import harness, mutations

    folder = Path(tempfile.mkdtemp())
    corpus = out / "corpus" / plain(target.name)
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = harness.warmed(target, folder)
    words = mutations.words_of(seeds)
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    tally = _Tally(target.name, runs, seconds, out)

    def damaged(data: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        start = data if data and rng.random() < 0.9 else rng.choice(seeds)
        return mutations.mutated(start, target.form, rng, words)[:most]

    def one(data: bytes) -> None:
        try:
            accepted = harness.tried(target, data, folder)
        except harness.Broken as why:
            accepted = False
            tally.keep(data, why)
        tally.count(accepted)

    asked = [f"-timeout={PER_INPUT}", "-rss_limit_mb=8192", f"-max_len={mutations.MOST}"]
    kept = f"-artifact_prefix={out}/{plain(target.name)}-"
    atheris.Setup(
        [sys.argv[0], *asked, kept, "-verbosity=0", str(corpus)], one, custom_mutator=damaged
    )
    atheris.Fuzz()


class _Tally:
    """What one target's search has come to; written to OUT now and then, and at its end."""

    def __init__(self, name: str, runs: int, seconds: float, out: Path):
        before = _read(out, name)  # of a process that an input ended
        self.name, self.most, self.seconds, self.out = name, runs, seconds, out
        self.runs, self.accepted = int(before.get("runs", 0)), int(before.get("accepted", 0))
        self.before, self.spent = self.runs, float(before.get("seconds", 0.0))
        self.found: dict[str, Any] = dict(before.get("found", {}))
        self.began = time.monotonic()

    def keep(self, data: bytes, why: Any) -> None:
        """Keep the first input of each cause."""
        if why.where not in self.found:
            name = f"{plain(self.name)}-{hashlib.sha256(data).hexdigest()[:12]}"
            (self.out / name).write_bytes(data)
            self.found[why.where] = {"file": name, "said": str(why)[:400]}
            self.write()

    def count(self, accepted: bool) -> None:
        """Count an input, and end the process where it was the last."""
        self.runs, self.accepted = self.runs + 1, self.accepted + accepted
        over = self.runs - self.before >= self.most
        over = over or time.monotonic() - self.began > self.seconds
        if over or self.runs % 200 == 0:
            self.write()
        if over:
            os._exit(0)

    def write(self) -> None:
        """Write the counts so far."""
        said = {
            "target": self.name,
            "runs": self.runs,
            "accepted": self.accepted,
            "seconds": round(self.spent + time.monotonic() - self.began, 1),
            "found": self.found,
        }
        (self.out / f"{plain(self.name)}.json").write_text(json.dumps(said, indent=1) + "\n")


def _read(out: Path, name: str) -> Mapping[str, Any]:
    path = out / f"{plain(name)}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def plain(name: str) -> str:
    """A target's name as a file's."""
    return "".join(c if c.isalnum() else "-" for c in name)


def main(argv: Sequence[str]) -> int:
    """Fuzz, and end with 1 where a promise was broken."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("out", type=Path)
    flags.add_argument("--inputs", type=int, default=1_000_000)
    flags.add_argument("--seconds", type=float, default=6 * 3600.0)
    flags.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    flags.add_argument("--target", action="append", default=[])
    asked = flags.parse_args(argv)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    logging.getLogger("assay").setLevel(logging.CRITICAL)
    asked.out.mkdir(parents=True, exist_ok=True)
    done = search(asked.out, asked.inputs, asked.seconds, asked.jobs, asked.target)
    found = [
        v for p in sorted(asked.out.glob("*.json")) for v in json.loads(p.read_text())["found"]
    ]
    ended = [p.name for p in asked.out.iterdir() if p.name.rpartition("-")[0].endswith(ENDED)]
    print(f"{done:,} inputs, {len(found)} promises broken, {len(ended)} processes ended")
    print("\n".join([*found, *ended]))
    return int(bool(found or ended))


ENDED = ("-crash", "-timeout", "-oom", "-leak")  # what libFuzzer calls such inputs

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
