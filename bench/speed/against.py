"""Ours and the peer's by turns, in processes of their own: A B A B …, one of them waiting while the
other works.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.speed import machine, ours
from bench.speed.cases import CASES, Case

ROOT = Path(__file__).resolve().parent.parent.parent
KEEP = {
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    "MALLOC_ARENA_MAX": "1",
}  # what assay.engine.memory does for ours
ROUNDS_FIRST = 1  # not counted: a first step allocates
TOLERANCE = 2e-4  # of a log-probability summed over an answer, and of a gradient's norm, relative


class Side:
    """One worker process; `step` lets it take one step."""

    def __init__(
        self,
        python: str,
        side: str,
        c: Any,
        folder: Path,
        steps: int,
        *,
        module: str = "bench.speed.worker",
    ):
        env = {**os.environ, **({} if side == "ours" else KEEP)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(
            [python, "-m", module, side, c.name, str(folder), str(steps)],
            cwd=ROOT,
            env=env,
            text=True,
            **pipes,
        )
        self.ready = self._line()["ready"]

    def step(self) -> dict[str, Any]:
        """What the worker says of one step."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended: {self.process.stderr.read()[-1500:]}")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def all_of(
    peer: str, say: Callable[[str], None], only: str = "", side: str = "peer"
) -> list[dict[str, Any]]:
    """Every case whose name holds `only`; the second peer has DPO alone."""
    out = []
    for c in CASES:
        if only in c.name and (side == "peer" or c.kind == "dpo"):
            out.append(one(c, peer, side))
            say(line(out[-1], side))
    return out


def one(c: Case, peer: str, side: str) -> dict[str, Any]:
    """One case: equality of results first, then rounds in turn."""
    with tempfile.TemporaryDirectory() as folder:
        ours.write_model(c.size, Path(folder))
        steps = (c.rounds + ROUNDS_FIRST) * c.turn + 1
        sides = {
            "ours": Side(sys.executable, "ours", c, Path(folder), steps),
            "peer": Side(peer, side, c, Path(folder), steps),
        }
        try:
            apart = differences(sides["ours"].ready["equal"], sides["peer"].ready["equal"])
            rate = machine.matrix_rate()
            counted: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for i in range(c.rounds + ROUNDS_FIRST):
                for name, one_side in sides.items():
                    turn = [one_side.step() for _ in range(c.turn)]
                    counted[name] += turn[min(1, c.turn - 1) :] if i >= ROUNDS_FIRST else []
            return {
                "case": c.name,
                "apart": apart,
                "matrix_rate": rate,
                "operations": operations(c),
                "tokens": c.tokens(),
                **{k: summary(said) for k, said in counted.items()},
                "ratio": ratios(*counted.values(), a_turn=max(1, c.turn - 1)),
                "peer_versions": {k: v for k, v in sides["peer"].ready.items() if k != "equal"},
            }
        finally:
            for one_side in sides.values():
                one_side.close()


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """How far the two sides' numbers lie apart. Raises RuntimeError where it is more than float32
    explains: a ratio of two different computations says nothing.
    """
    out = {"logp": max(abs(a - b) for a, b in zip(mine["logp"], theirs["logp"], strict=True))}
    scale = max(abs(a) for a in theirs["logp"])
    far = out["logp"] / scale > TOLERANCE
    for k in set(mine) & {"loss", "grad"}:
        out[k] = abs(mine[k] - theirs[k]) / abs(theirs[k])
        far = far or out[k] > TOLERANCE
    if far:
        raise RuntimeError(f"the two sides compute different things: {out}")
    return out


def operations(c: Case) -> float:
    """Multiplications and additions of a step: 2 a weight and token forward, 4 backward. GRPO draws
    (2), reads the reference (2) and learns (6); DPO reads the reference and learns; a reward model
    learns. Attention and the head are left out.
    """
    each = {"grpo": 10, "dpo": 8, "reward": 6}[c.kind]
    return float(each * c.size.matrices * c.tokens())


def summary(said: list[dict[str, Any]]) -> dict[str, float]:
    """Median seconds and their middle half, processor seconds, and the most memory the process ever
    held.
    """
    wall = sorted(s["seconds"] for s in said)
    return {
        "seconds": statistics.median(wall),
        "low": wall[len(wall) // 4],
        "high": wall[-1 - len(wall) // 4],
        "cpu": statistics.median(s["cpu"] for s in said),
        "peak_bytes": max(s["peak_bytes"] for s in said),
    }


def ratios(
    mine: list[dict[str, Any]], theirs: list[dict[str, Any]], *, a_turn: int
) -> dict[str, float]:
    """The peer's seconds over ours, turn by turn (a turn by the median of its steps): median, least
    and most.
    """
    turns = [
        [
            statistics.median(s["seconds"] for s in side[i : i + a_turn])
            for i in range(0, len(side), a_turn)
        ]
        for side in (mine, theirs)
    ]
    each = sorted(t / m for m, t in zip(*turns, strict=True))
    return {"median": statistics.median(each), "low": each[0], "high": each[-1]}


def line(r: dict[str, Any], side: str) -> str:
    """One case in one line."""
    share = r["operations"] / r["ours"]["seconds"] / r["matrix_rate"]
    ratio = r["ratio"]
    return (
        f"{r['case']:18} ours {r['ours']['seconds']:.3f} s  {side} {r['peer']['seconds']:.3f} s  "
        f"ratio {ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]  "
        f"{100 * share:.0f} % of the machine"
    )


def curves(peer: str, steps: int = 60) -> dict[str, list[float]]:
    """What both sides learn: GRPO's reward and DPO's loss at every step, from the same first
    weights.
    """
    out: dict[str, list[float]] = {}
    for name, key in (("grpo varied 0.35M", "reward"), ("dpo 0.35M", "loss")):
        c = next(x for x in CASES if x.name == name)
        with tempfile.TemporaryDirectory() as folder:
            ours.write_model(c.size, Path(folder))
            for side, python in (("ours", sys.executable), ("peer", peer)):
                s = Side(python, side, c, Path(folder), steps + 1)
                try:
                    out[f"{name} {side}"] = [s.step()[key] for _ in range(steps)]
                finally:
                    s.close()
    return out
