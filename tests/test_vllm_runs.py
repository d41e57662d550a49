"""`assay run grpo --sampler vllm`: a run that trains, is killed, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from vllm_models import folder, needs_vllm

pytestmark = [needs_vllm]
ROOT = Path(__file__).resolve().parents[1]
REWARD = "def score(prompts, completions):\n    return [float(c.count('e')) for c in completions]\n"
PROMPTS = [f"the old mill by the river number {k} is closed today" for k in range(8)]
STEPS = 6


def command(at: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "assay", "run", "grpo", "--model", str(at), "--sampler", "vllm"),
        *("--prompts", "p.jsonl", "--rewards", "rw.py:score", "--gold", "rw.py:score"),
        *("--held-out", "2", "--max-steps", str(STEPS), "--batch-size", "2", "-n", "4"),
        *("--max-tokens", "8", "--lr", "1e-2", "--eval-steps", "2", "--save-steps", "1"),
        *("--out", "run", *more),
    ]


def start(at: Path, *more: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(at, *more),
        cwd=at.parent,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def readings(at: Path) -> list[dict[str, Any]]:
    file = at.parent / "run" / "readings.jsonl"
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def until_step(run: subprocess.Popen[str], at: Path, step: int) -> None:
    end = time.monotonic() + 900
    while not any(r["step"] >= step for r in readings(at)):
        assert run.poll() is None and time.monotonic() < end, "the run ended before its readings"
        time.sleep(0.2)


@pytest.mark.parametrize("lora", [0, 4])
def test_a_run_is_killed_its_engine_is_killed_and_it_goes_on(tmp_path: Path, lora: int) -> None:
    at = folder(tmp_path / "tiny", tied=True)
    (tmp_path / "rw.py").write_text(REWARD, encoding="utf-8")
    rows = "".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS)
    (tmp_path / "p.jsonl").write_text(rows, encoding="utf-8")
    how = ("--lora", str(lora)) if lora else ()
    first = start(at, *how)
    until_step(first, at, 2)
    family = psutil.Process(first.pid).children(recursive=True)
    engines = [p for p in family if "VLLM" in p.name()]
    assert engines
    if lora:
        for p in engines:
            p.kill()
        said, _ = first.communicate(timeout=300)
        assert first.returncode == 2 and "has died; the run goes on from its last save" in said
    else:
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=300)
    psutil.wait_procs(engines, timeout=60)
    assert not any(p.is_running() for p in engines), "no engine outlives its run"
    again = start(at, *how, "--resume")
    said, _ = again.communicate(timeout=900)
    assert again.returncode == 0, said
    found = readings(at)
    assert [r["step"] for r in found if r["tag"] == ""][-1] == STEPS, found
    trained = [r["stats"] for r in found if "sampling/sampling_logp_difference/max" in r["stats"]]
    assert len(trained) == STEPS // 2
    for stats in trained:
        assert stats["sampling/sampling_logp_difference/max"] < 1e-3
        assert stats["sampling/effective_sample_size"] > 0.99
        assert stats["sampling/frac_clipped"] == 0
    assert max(r["kl"] or 0 for r in found) > 1e-3, "it trained"
