"""What has no peer: ensembles against one judge, log-probabilities at large vocabularies, curves, reports, checks, imports."""
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
from assay.formulas.pairwise import bradley_terry
from assay.rewards.ensemble import Members
from assay.rewards.fitting import trained
from assay.rng import Rng
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


def members(size: cases.Size, rounds: int) -> dict[str, float]:
    """One step of M judges with trunks of their own, and scores of 256 answers by them."""
    c = next(x for x in cases.CASES if x.kind == "reward" and x.size == size)
    with tempfile.TemporaryDirectory() as folder:
        ours.write_model(size, Path(folder))
        p = ours.policy(c, Path(folder))
    data = ours.pairs_of(c, p, c.prompts)
    named: dict[str, Callable[[], Any]] = {}
    for M in (1, 2, 5, 10) if size == cases.SMALL else (1, 2, 5):
        judges = Members(ours.config(size), M, Rng(0))
        frozen = judges.freeze(tuple(f"judge{m}" for m in range(M)))

        def fit(judges: Members = judges) -> None:
            trained(judges, data, loss=lambda a, b, *_: bradley_terry(a, b), loop=Loop(steps=2, batch=c.prompts, lr=1e-3))

        named |= {f"fit {M}": fit, f"score {M}": lambda frozen=frozen: frozen(data)}
    return timed(named, rounds)


def peak_of(code: str) -> dict[str, float]:
    """What a Python program of its own says in JSON on its last line."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


_LOGP = """
import json, resource, statistics, time
import torch
from assay.formulas.chosen import chosen
n, W, V = {n}, {W}, {V}
g = torch.Generator().manual_seed(0)
h, w, y = torch.randn(n, W, generator=g), torch.randn(V, W, generator=g) / W**.5, torch.randint(V, (n,), generator=g)
def plain(h, w):
    return (h @ w.mT).log_softmax(-1).gather(1, y[:, None])[:, 0]
def ours(h, w):
    return chosen(h, w, y)
f = {side}
def step():
    a, b = h.clone().requires_grad_(), w.clone().requires_grad_()
    f(a, b).sum().backward()
    return a.grad
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
step()
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
seen = []
for _ in range({rounds}):
    t = time.perf_counter(); step(); seen.append(time.perf_counter() - t)
print(json.dumps({{"peak": peak, "seconds": statistics.median(seen)}}))
"""


def log_probs(rounds: int = 5) -> list[dict[str, Any]]:
    """Log-probabilities of given tokens, forward and backward, at three vocabularies: the plain form and ours."""
    out = []
    for V, n in ((1024, 4096), (32768, 2048), (131072, 1024)):
        for W in (96, 512):
            both = {side: peak_of(_LOGP.format(n=n, W=W, V=V, side=side, rounds=rounds)) for side in ("plain", "ours")}
            out.append({"vocabulary": V, "tokens": n, "width": W, **both})
    return out


def imports() -> dict[str, float]:
    """Seconds of `import assay` and of `assay list`, each in a fresh process, the median of five."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    named = {"python": [sys.executable, "-c", ""], "import assay": [sys.executable, "-c", "import assay"],
             "assay list": [sys.executable, "-m", "assay", "list"]}
    return timed({k: lambda v=v: subprocess.run(v, check=True, capture_output=True, env=env) for k, v in named.items()}, 5)


def curve() -> dict[str, float]:
    """A best-of-n curve from 10⁶ scores, 20 values of n, 1,000 bootstrap draws."""
    from bench.speed import files
    return files.curve()


def five_heads(size: cases.Size, rounds: int) -> dict[str, float]:
    """One trunk with five heads against one head: a step of each."""
    c = next(x for x in cases.CASES if x.kind == "reward" and x.size == size)
    with tempfile.TemporaryDirectory() as folder:
        ours.write_model(size, Path(folder))
        p = ours.policy(c, Path(folder))
    data = ours.pairs_of(c, p, c.prompts)
    named: dict[str, Callable[[], Any]] = {}
    for k in (1, 5):
        scorer = p.copy().scorer(k, Rng(1))
        opt = torch.optim.Adam(scorer.parameters(), lr=1e-3, fused=True)

        def step(scorer: torch.nn.Module = scorer, opt: torch.optim.Optimizer = opt) -> None:
            last: Tensor = scorer(data)[:, :, -1]
            opt.zero_grad()
            bradley_terry(last[:, 0].T, last[:, 1].T).mean().backward()
            opt.step()

        named[f"{k} heads"] = step
    return timed(named, rounds)
