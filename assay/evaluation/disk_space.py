"""Is there room on the disk for what a run will write?"""

from __future__ import annotations

import shutil
from pathlib import Path

from assay.engine.checkpoint import Carry
from assay.errors import InputError
from assay.watch.config import WatchConfig

MARGIN = 1.05  # records, and what others write meanwhile


def check_room(
    folder: Path,
    carry: Carry,
    *,
    gold: bool,
    looks: int,
    watch: WatchConfig | None,
    every: bool,
) -> None:
    """Check the free disk against what a run will write at most.

    A save needs room for two: the old one stays until the new one is whole.

    Args:
        folder: The run's folder; what lies in it counts as room.
        carry: What the recipe has registered.
        gold: Whether the best policy by gold is kept on the way.
        looks: Readings of the run.
        watch: Its watch.
        every: Whether every policy that is read is kept.

    Raises:
        InputError: It does not fit.
    """
    whole, policy = carry.bytes(), carry.bytes("policy")
    parts = {"two checkpoints to go on from": 2 * whole}
    if gold and not every:
        parts["the best policy, old and new"] = 2 * policy
    if every:
        parts[f"{looks} {'policy' if looks == 1 else 'policies'} (--policies)"] = looks * policy
    if watch is not None:
        kept = min(looks, watch.policies_kept(looks, policy)) + 1
        parts[f"{kept} policies of the watch (--watch.kept)"] = kept * policy
    need = int(MARGIN * sum(parts.values()))
    there = sum(f.stat().st_size for f in folder.rglob("*.safetensors"))
    free = shutil.disk_usage(folder).free + there
    if need > free:
        said = ", ".join(f"{gigabytes(n)} for {what}" for what, n in parts.items() if n)
        raise InputError(
            f"{folder} will need up to {gigabytes(need)} of disk ({said}), and {gigabytes(free)} "
            "are free there: make room, give --out on another disk, or train adapters "
            "(--lora 16), which are small"
        )


def gigabytes(n: int) -> str:
    """A number of bytes for a person."""
    if n >= 1e8:
        return f"{n / 1e9:.1f} GB"
    return f"{n / 1e6:.1f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB"
