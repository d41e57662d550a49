"""The machine, as it is now: what it is, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import torch

from assay.models.backbones.matmul import product


def matrix_rate(seconds: float = 1.5) -> float:
    """Operations a second of the best float32 product this torch offers, [2048,2048] by itself, the
    best of several.
    """
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for f in (lambda: a @ b.mT, lambda: product(a, b)):
            began = time.perf_counter()
            f()
            best = max(best, 2 * 2048**3 / (time.perf_counter() - began))
    return best


def about() -> dict[str, Any]:
    """Processor, cores, threads, memory, versions."""
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if (info.exists())
        else [platform.processor()]
    )
    memory = Path("/proc/meminfo")
    total = int(memory.read_text().split()[1]) // 1024 if memory.exists() else 0
    return {
        "processor": names[0] if names else "unknown",
        "cores": len(names),
        "threads": torch.get_num_threads(),
        "memory_MiB": total,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
