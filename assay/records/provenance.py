"""What made a record: versions, commit, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from assay.records.schema import SCHEMA

_DISTRIBUTIONS = ("torch", "transformers", "safetensors", "numpy", "peft", "datasets", "accelerate")


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance() -> dict[str, Any]:
    """Return what this process is.

    Returns:
        Values of RunRecord: `assay`, `commit`, `schema`, `versions`, and `machine` without its name
        or its user.
    """
    from assay import __version__

    versions = {name: _version(name) for name in _DISTRIBUTIONS}
    return {
        "assay": __version__,
        "commit": _commit(),
        "schema": SCHEMA,
        "versions": {
            "python": platform.python_version(),
            **{k: v for k, v in versions.items() if v},
        },
        "machine": {
            "system": platform.system(),
            "release": platform.release(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code runs from; None outside one.

    "+changes" is added where tracked files differ from it.
    """
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    said = []
    for question in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        ask = ["git", "-C", str(home), *question]
        try:
            said.append(subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True))
        except (OSError, subprocess.SubprocessError):
            return None
    return said[0].stdout.strip() + ("+changes" if said[1].stdout.strip() else "")
