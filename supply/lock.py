"""Write the locks: every package with its version and the hashes of its files, for every system.

    python supply/lock.py

The versions are those of constraints.txt. runtime.txt is what `assay[hub,lora]` needs;
development.txt adds what the Makefile uses. Hashes come from the index that uv asks, and no
index is written down. The hashes of PyTorch's wheels for the CPU, which are on an index of their
own, come from pip; where pip finds none, those of torch-cpu.txt stay.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LOCKS = {
    "runtime.txt": ("hub", "lora"),
    "development.txt": ("hub", "lora", "dev", "docs", "browser", "supply"),
}
OLDEST = {"runtime.txt": "3.11", "development.txt": "3.11.5"}  # pymdown-extensions asks for .5
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64")
HEAD = "# PyTorch's wheels for the CPU on Linux. `make lock` writes this file.\n"


def main() -> None:
    """Write the three files."""
    for name, extras in LOCKS.items():
        compile_(HERE / name, extras, OLDEST[name])
    torch_cpu(HERE / "torch-cpu.txt")


def compile_(out: Path, extras: tuple[str, ...], python: str) -> None:
    """Resolve the project with some extras.

    Args:
        out: The lock.
        extras: The extras.
        python: The oldest Python that the lock serves.
    """
    words = ["--config-file", str(HERE / "uv.toml"), "pip", "compile", "pyproject.toml"]
    words += ["--constraint", "constraints.txt", "--generate-hashes", "--universal", "--quiet"]
    words += ["--python-version", python, "--custom-compile-command", "make lock"]
    words += [w for e in extras for w in ("--extra", e)]
    words += ["--no-annotate", "--upgrade", "--output-file", str(out)]
    subprocess.run([sys.executable, "-m", "uv", *words], cwd=ROOT, check=True)


def torch_cpu(out: Path) -> None:
    """Write the hashes of the CPU wheels that pip finds, and keep those that it does not.

    Args:
        out: The lock of PyTorch alone.
    """
    (version,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    wanted = f"torch=={version}+cpu"
    before = out.read_text("utf-8") if out.exists() else ""
    known = dict(re.findall(r"^#   (\S+) (\w{64})$", before, re.M)) if wanted in before else {}
    for python in PYTHONS:
        for platform in PLATFORMS:
            known |= dict(_found(wanted, python, platform))
    if not known:
        sys.exit(f"pip finds no wheel of {wanted}: set PIP_EXTRA_INDEX_URL to PyTorch's CPU index")
    files = sorted(known.items())
    names = "".join(f"#   {name} {digest}\n" for name, digest in files)
    hashes = " \\\n".join(f"    --hash=sha256:{digest}" for _, digest in files)
    out.write_text(f"{HEAD}{names}{wanted} \\\n{hashes}\n", encoding="utf-8")


def _found(wanted: str, python: str, platform: str) -> list[tuple[str, str]]:
    """(file, SHA-256) of the wheel that pip would take; empty where it knows of none."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        words += ["--python-version", python, "--platform", platform, wanted]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return []
        wheels = sorted(Path(folder).glob("*.whl"))
        return [(w.name, hashlib.sha256(w.read_bytes()).hexdigest()) for w in wheels]


if __name__ == "__main__":
    main()
