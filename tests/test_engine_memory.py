"""Freed memory is kept where glibc and the user let it be."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from assay.engine import memory

PROGRAM = """
import resource, torch
from concurrent.futures import ThreadPoolExecutor
from assay.engine import memory
kept = memory.keep() if {keep} else None
def step():
    large = torch.cat([torch.ones(1 << 20) for _ in range(16)])
    return float(torch.ones(1 << 20).mul(2)[0]) + float(large[0])
pool = ThreadPoolExecutor(1)
run = (lambda: pool.submit(step).result()) if {thread} else step
run(); run()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): run()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool, thread: bool = False, **env: str) -> tuple[str, int]:
    plain = {k: v for k, v in os.environ.items() if k not in (*memory.SETTINGS, "LD_PRELOAD")}
    program = PROGRAM.format(keep=keep, thread=thread)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**plain, "OMP_NUM_THREADS": "1", **env},
    )
    kept, n = done.stdout.split()
    return kept, int(n)


@pytest.mark.full
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this C library is not glibc")
@pytest.mark.parametrize("thread", [False, True])
def test_kept_memory_is_not_mapped_again(thread: bool) -> None:
    (kept, one), (_, two) = faults(True, thread), faults(True, thread)
    assert kept == "True"
    # a busy machine takes pages away and maps them again, so the better of two counts
    assert min(one, two) < faults(False, thread)[1] / 10


def test_a_users_own_setting_holds() -> None:
    assert faults(True, MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
