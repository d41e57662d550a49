"""`accelerate launch` with two processes on the CPU gives the run of one: the same batches, the
same readings.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from families import checkpoint
from test_contract import differences, timeless
from test_worlds_hub import files  # noqa: F401  # a fixture

from assay.records.runs import Run

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")


def command(given: dict[str, str], out: Path, *more: str) -> list[str]:
    return [
        "-m",
        "assay",
        "run",
        "uncertainty_weighted",
        "--world",
        "hub",
        "--world.policy",
        given["policy"],
        "--world.prompts",
        given["prompts"],
        "--held-out",
        "4",
        "--world.rewards",
        f"{given['judges']}:words,{given['judges']}:slow",
        "--world.gold",
        f"{given['judges']}:slow",
        "--max-tokens",
        "6",
        "--world.dtype",
        "float64",
        "--max-steps",
        "3",
        "--batch-size",
        "5",
        "--num-generations",
        "3",
        "--eval-generations",
        "2",
        "--eval-steps",
        "1",
        "--learning-rate",
        "0.01",
        "--out",
        str(out),
        *more,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("lora", [pytest.param("0", marks=pytest.mark.full), "2"])
def test_two_processes_are_one(files: dict[str, str], tmp_path: Path, lora: str) -> None:
    if lora != "0":
        pytest.importorskip("peft", reason="the lora extra is not installed")
    given = {**files, "policy": str(checkpoint(tmp_path / "qwen2", "qwen2"))}
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = str(s.getsockname()[1])
    quiet = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ASSAY_CACHE": str(tmp_path),
        "ACCELERATE_USE_CPU": "true",
    }
    one = subprocess.run(
        [sys.executable, *command(given, tmp_path / "one", "--lora", lora)],
        env=quiet,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert one.returncode == 0, one.stderr
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        port,
    ]
    two = subprocess.run(
        [*launch, *command(given, tmp_path / "two", "--lora", lora)],
        env=quiet,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert two.returncode == 0, two.stderr
    about = Run.open(tmp_path / "two").about
    assert (
        about["run"]["processes"] == 2 and Run.open(tmp_path / "one").about["run"]["processes"] == 1
    )
    a, b = (
        json.loads(json.dumps(timeless(Run.open(tmp_path / n).readings()))) for n in ("one", "two")
    )
    assert differences(a, b, 1e-5) == [] and a[-2]["kl"] > 1e-4
