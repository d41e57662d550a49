"""Scoring without a server, in a process of its own: the rate, and every row's score.

python -m bench.serve.offline REWARD ROWS SECONDS OUT [THREADS]

It computes what `assay score` computes, by the same call, without loading and writing. The rows
are scored again and again until the seconds are over.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from assay.engine import memory
from assay.formulas import aggregate
from assay.rewards.load import open_reward


def main(folder: str, rows: str, seconds: str, out: str) -> None:
    """Score, and write the rate and the scores."""
    memory.keep()  # as the command line does
    found = [json.loads(line) for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    prompts, said = [r["prompt"] for r in found], [r["completion"] for r in found]
    reward = open_reward(folder, "rewards")
    reward.scores(prompts[:64], said[:64])  # warm
    times = list[float]()
    began, used = time.perf_counter(), time.process_time()
    while sum(times) < float(seconds):
        start = time.perf_counter()
        scores = reward.scores(prompts, said)
        times.append(time.perf_counter() - start)
    took, used = time.perf_counter() - began, time.process_time() - used
    mean = aggregate.mean(scores[:, :, None].double())[:, 0]
    told = {
        "rate": len(found) * len(times) / took,
        "cpu_seconds_an_item": used / (len(found) * len(times)),
        "peak_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "scores": mean.tolist(),
    }
    Path(out).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
