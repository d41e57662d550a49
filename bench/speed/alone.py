"""What has no peer: ensembles against one judge, log-probabilities at large vocabularies, curves,
reports, checks, imports.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop
from assay.core.rng import Rng
from assay.formulas.pairwise import bradley_terry
from assay.rewards.ensemble import Members
from assay.rewards.fit import trained
from bench.speed import cases, ours

ROOT = Path(__file__).resolve().parent.parent.parent


def timed(named: Mapping[str, Callable[[], Any]], rounds: int = 7) -> dict[str, float]:
    """Median seconds of each, taken in turn, after one round that is not counted."""
    seen: dict[str, list[float]] = {k: [] for k in named}
    for i in range(rounds + 1):
        for k, f in named.items():
            began = time.perf_counter()
            f()
            if i:
                seen[k].append(time.perf_counter() - began)
    return {k: statistics.median(v) for k, v in seen.items()}


def opened(size: cases.Size) -> tuple[cases.Case, ours.Forced, Any]:
    """The reward case of a size, its model, and one batch of pairs."""
    c = next(x for x in cases.CASES if x.kind == "reward" and x.size == size)
    with tempfile.TemporaryDirectory() as folder:
        ours.write_model(size, Path(folder))
        p = ours.policy(c, Path(folder))
    return c, p, ours.pairs_of(c, p, c.prompts)


def members(size: cases.Size, rounds: int) -> dict[str, float]:
    """One step of M judges with backbones of their own, and scores of 256 answers by them."""
    c, _, data = opened(size)
    named: dict[str, Callable[[], Any]] = {}
    for M in (1, 2, 5, 10) if size == cases.SMALL else (1, 2, 5):
        judges = Members(ours.config(size), M, Rng(0))
        frozen = judges.freeze(tuple(f"judge{m}" for m in range(M)))

        def fit(judges: Members = judges) -> None:
            trained(
                judges,
                data,
                loss=lambda a, b, *_: bradley_terry(a, b),
                loop=Loop(max_steps=1, batch_size=c.prompts, learning_rate=1e-3),
            )

        named |= {f"fit {M}": fit, f"score {M}": lambda frozen=frozen: frozen(data)}
    return timed(named, rounds)


def log_probs(rounds: int = 3) -> list[dict[str, Any]]:
    """Log-probabilities of given tokens, forward and backward, at three vocabularies: the plain
    form and ours. Each in a process of its own, because peaks are counted.
    """
    out = []
    for V, n, W, frozen in (
        (1024, 4096, 96, False),
        (32768, 2048, 96, False),
        (131072, 1024, 96, False),
        (32768, 2048, 512, False),
        (131072, 1024, 512, False),
        (131072, 1024, 512, True),
    ):
        argv = [
            sys.executable,
            str(ROOT / "bench" / "speed" / "logprobs.py"),
            "--decisions",
            str(n),
            "--vocabulary",
            str(V),
            "--width",
            str(W),
            "--rounds",
            str(rounds),
            *(["--frozen"] if frozen else []),
        ]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
        out.append(dict(json.loads(done.stdout.splitlines()[-1])))
    return out


def imports() -> dict[str, float]:
    """Seconds of `import assay` and `assay list`, each in a fresh process; the median of five."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    named = {
        "python": [sys.executable, "-c", ""],
        "import assay": [sys.executable, "-c", "import assay"],
        "assay list": [sys.executable, "-m", "assay", "list"],
    }
    return timed(
        {
            k: lambda v=v: subprocess.run(v, check=True, capture_output=True, env=env)
            for k, v in named.items()
        },
        5,
    )


def curve() -> dict[str, float]:
    """A best-of-n curve from 10⁶ scores, 20 values of n, 1,000 bootstrap draws."""
    from bench.speed import files

    return files.curve()


def five_heads(size: cases.Size, rounds: int) -> dict[str, float]:
    """One backbone with five heads against one head: a step of each."""
    _, p, data = opened(size)
    named: dict[str, Callable[[], Any]] = {}
    for k in (1, 5):
        scorer = p.copy().value_head(k, Rng(1))
        opt = torch.optim.Adam(scorer.parameters(), lr=1e-3, fused=True)

        def step(scorer: torch.nn.Module = scorer, opt: torch.optim.Optimizer = opt) -> None:
            last: Tensor = scorer(data)[:, :, -1]
            opt.zero_grad()
            bradley_terry(last[:, 0].T, last[:, 1].T).mean().backward()
            opt.step()

        named[f"{k} heads"] = step
    return timed(named, rounds)
