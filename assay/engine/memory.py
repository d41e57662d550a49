"""What this process does with memory that it has freed.

glibc returns large freed blocks to the system, and a training step asks for the same ones again
milliseconds later: each page is then cleared and mapped anew. With freed memory kept, a step of a
small model takes about a quarter less time (LOG.md prints how to time it). All threads share one
heap, since those that glibc makes for further threads return large blocks whatever the settings.
The process stays as large as it ever was until it ends.
"""

from __future__ import annotations

import ctypes
import os
import platform

# mallopt's M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD and M_ARENA_MAX
_TRIM, _TOP_PAD, _MMAP, _ARENAS = -1, -2, -3, -8
# bytes: kept at the top; taken from the heap; asked for in advance
_KEPT, _LARGEST, _AHEAD = 2**31 - 1, 2**30, 64 * 2**20
SETTINGS = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_ARENA_MAX",
    "GLIBC_TUNABLES",
)


def keep() -> bool:
    """Keep freed memory from now on.

    Only with glibc, and not where the environment sets how memory is handled
    (`MALLOC_TRIM_THRESHOLD_` and others) or another allocator is preloaded.

    Returns:
        Whether it is kept.
    """
    if platform.libc_ver()[0] != "glibc" or any(s in os.environ for s in (*SETTINGS, "LD_PRELOAD")):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(
        [
            mallopt(_TRIM, _KEPT),
            mallopt(_MMAP, _LARGEST),
            mallopt(_TOP_PAD, _AHEAD),
            mallopt(_ARENAS, 1),
        ]
    )
