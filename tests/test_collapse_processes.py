"""Training that has died in two processes: both stop at the same step, say why, and end with 4."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from families import checkpoint

from assay.records.run_warnings import collapsed
from assay.records.runs import Run

JUDGE = """
def constant(prompts, completions, **columns):
    return [1.0] * len(completions)

def length(prompts, completions, **columns):
    return [float(len(c)) for c in completions]
"""


def both(tmp_path: Path, *words: str) -> list[tuple[int, str]]:
    """The exit codes of two processes of one run, and what they said."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    quiet = {"OMP_NUM_THREADS": "1", "ASSAY_CACHE": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "assay", "run", *words],
            env={**os.environ, **quiet, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [one.communicate(timeout=120)[1] for one in started]
    finally:
        for one in started:
            one.kill()
    return [(one.returncode, text) for one, text in zip(started, said, strict=True)]


@pytest.mark.full
@pytest.mark.parametrize("end", ["stop", "warn"])
def test_a_constant_reward_ends_both_processes_with_4(tmp_path: Path, end: str) -> None:
    rows = [json.dumps({"prompt": f"tell me about mill {i}"}) for i in range(12)]
    (tmp_path / "asks.jsonl").write_text("\n".join(rows))
    (tmp_path / "judge.py").write_text(JUDGE)
    model, judge = checkpoint(tmp_path / "model", "llama"), tmp_path / "judge.py"
    words = (
        f"leave_one_out --model {model} --prompts {tmp_path / 'asks.jsonl'} --held-out 4 "
        f"--rewards {judge}:constant --gold {judge}:length --max-tokens 4 --batch-size 4 -n 4 "
        "--eval-generations 2 --eval-steps 2 --max-steps 6 --collapse-steps 2"
    ).split()
    out = tmp_path / "run"
    for code, said in both(tmp_path, *words, "--on-collapse", end, "--out", str(out)):
        assert code == 4, said
        if end == "stop":
            assert "stopped at step 4 by --on-collapse: all completions of every prompt" in said
    about = Run.open(out).about
    assert [w["kind"] for w in collapsed(about)] == ["equal_rewards"]
    assert about["state"] == ("failed" if end == "stop" else "done")
    assert about["run"]["processes"] == 2
