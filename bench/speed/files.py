"""Files: a best-of-n curve, a report over many runs, a check of a million rows."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tempfile
import time
from pathlib import Path

import torch

from assay import cli
from assay.core.rng import Rng
from assay.formulas.curves import best_of_n, bootstrap_mean


def seconds(*argv: str) -> float:
    """How long the command line takes in this process. Raises RuntimeError where it fails."""
    said = io.StringIO()
    began = time.perf_counter()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(list(argv))
    took = time.perf_counter() - began
    if code:
        raise RuntimeError(f"assay {' '.join(argv)}: {said.getvalue()[-500:]}")
    return took


def curve(prompts: int = 1000, answers: int = 1000, draws: int = 1000) -> dict[str, float]:
    """The formula on prompts × answers scores, 20 values of n, with its bootstrap."""
    rng = Rng(0)
    b, n = torch.arange(prompts)[:, None], torch.arange(answers)
    proxy, noise = rng("proxy").normal(b, n), rng("gold").normal(b, n)
    gold, present = 0.5 * proxy + noise, torch.ones(prompts, answers, dtype=torch.bool)
    ns = sorted({max(1, round(answers ** (k / 19))) for k in range(20)} | set(range(1, 8)))[:20]
    index = torch.randint(prompts, (draws, prompts), generator=rng("bootstrap").generator())
    best_of_n(proxy[:10], gold[:10], ns, present[:10])
    began = time.perf_counter()
    bootstrap_mean(best_of_n(proxy, gold, ns, present), index=index)
    return {
        "scores": float(prompts * answers),
        "values_of_n": float(len(ns)),
        "seconds": time.perf_counter() - began,
    }


def bon(rows: int = 1_000_000) -> float:
    """`assay bon` on a file of so many rows, reading included."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        with path.open("w") as f:
            f.write("prompt,proxy,gold\n")
            for i in range(rows):
                x = draw.gauss(0, 1)
                f.write(f"p{i // 1000},{x:.6f},{0.5 * x + draw.gauss(0, 1):.6f}\n")
        return seconds("bon", str(path), "--gold", "gold")


def check(rows: int = 1_000_000) -> float:
    """`assay check` on so many preference pairs in JSON lines."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.jsonl"
        with path.open("w") as f:
            for i in range(rows):
                f.write(
                    json.dumps(
                        {
                            "prompt": f"question {i}",
                            "chosen": f"answer {draw.random():.6f}",
                            "rejected": f"another {draw.random():.6f}",
                        }
                    )
                    + "\n"
                )
        return seconds("check", str(path))


def report(runs: int = 100, readings: int = 40) -> float:
    """`assay report` over so many runs: one real run of `readings` readings, copied."""
    import shutil

    with tempfile.TemporaryDirectory() as folder:
        one = Path(folder) / "run0"
        seconds(
            "run",
            "leave_one_out",
            "--world",
            "table",
            "--max-steps",
            str(5 * (readings - 1)),
            "--eval-steps",
            "5",
            "--out",
            str(one),
        )
        for i in range(1, runs):
            shutil.copytree(one, Path(folder) / f"run{i}")
        return seconds(
            "report",
            *(str(Path(folder) / f"run{i}") for i in range(runs)),
            "-o",
            str(Path(folder) / "report.html"),
        )
