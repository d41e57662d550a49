"""Build the wheel and the archive of sources twice and compare the bytes.

    python supply/reproducible.py

The two builds differ in what must not matter: the folder, its owner's umask, the files' times and
order of creation, the time zone, the hash seed, and the locale. Prints the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "__pycache__", "dist", "site", "runs", ".*_cache", ".hypothesis", "*.egg-info"
)
CASES = (
    {"umask": 0o022, "time": 1_000_000_000, "TZ": "UTC", "PYTHONHASHSEED": "0", "LC_ALL": "C"},
    {"umask": 0o077, "time": 1_700_000_000, "TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "1"},
)


def build(source: Path, folder: Path, case: dict[str, object]) -> dict[str, str]:
    """Copy the sources, build them there, and digest what came out.

    Args:
        source: The checkout.
        folder: An empty folder for the copy and the files.
        case: One of CASES.

    Returns:
        SHA-256 by file name.
    """
    before = os.umask(int(str(case["umask"])))
    try:
        there = folder / "sources"
        shutil.copytree(source, there, ignore=LEFT_OUT, copy_function=shutil.copyfile)
        for path in sorted(there.rglob("*"), reverse=bool(case["umask"] == 0o077)):
            if path.is_file():
                path.chmod(0o666 & ~int(str(case["umask"])))
            os.utime(path, (float(str(case["time"])),) * 2)
        names = {k: str(v) for k, v in case.items() if k.isupper()}
        kept = {k: v for k, v in os.environ.items() if k not in ("SOURCE_DATE_EPOCH", "LC_ALL")}
        words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
        done = subprocess.run(
            [*words, str(there)], env={**kept, **names}, capture_output=True, text=True, check=False
        )
    finally:
        os.umask(before)
    if done.returncode:
        sys.exit(f"the build failed:\n{done.stderr[-3000:]}")
    files = sorted((folder / "dist").iterdir())
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main() -> None:
    """Build in every case; end with 1 where two files of one name differ."""
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("a", "another folder")]
        for place in places:
            place.mkdir()
        first, second = (build(ROOT, place, case) for place, case in zip(places, CASES))
    for name in sorted(first | second):
        print(first.get(name, "-"), name)
    if first != second:
        sys.exit(
            f"not reproducible: {[n for n in first | second if first.get(n) != second.get(n)]}"
        )


if __name__ == "__main__":
    main()
