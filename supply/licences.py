"""Write THIRD_PARTY.md: the licence of every package that assay needs; fail on one not allowed.

    python supply/licences.py

The packages are those of supply/runtime.txt. Their licences are read from the metadata of what is
installed here: the SPDX expression, else the text or the classifier, as an SPDX name. Of an
expression every part has to be allowed, whether it says AND or OR.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MPL-2.0",
    "PSF-2.0",
    "Unlicense",
    "Zlib",
}
# what people write in place of an SPDX name; the first that matches the beginning
SPOKEN = {
    r"apache( software)?( license)?,?( version)?( ?2(\.0)?)?( license)?\b": "Apache-2.0",
    r"(the )?mit( license)?\b": "MIT",
    r"isc( license)?\b": "ISC",
    r"(new |modified |3-clause )?bsd( license)?\b": "BSD-3-Clause",
}
# SciPy's text begins with a copyright, and its classifier names no clause count
READ = {"scipy": "BSD-3-Clause"}
SYSTEMS = ("linux", "darwin", "win32")
HEAD = """# Third parties

Written by `make licences` from the metadata of the packages of
[supply/runtime.txt](supply/runtime.txt), which `assay[hub,lora]` needs on Linux, macOS or Windows.
The wheel of assay holds none of them; pip installs them from the index that you use.

An HTML report holds the programs that draw its charts (Vega, Vega-Lite, vega-embed, d3 and others),
which vl-convert-python bundles. Their licences are in
[vega-licences.txt](assay/report/templates/vega-licences.txt), and each report carries that text.

| package | licence |
| --- | --- |
"""


@dataclass(frozen=True)
class Package:
    """One package of the lock.

    Attributes:
        name: As the lock writes it.
        version: The locked version.
    """

    name: str
    version: str


def locked(lock: str) -> list[Package]:
    """The packages of a lock that some system of ours needs.

    Args:
        lock: The lock's text.
    """
    found = []
    for name, version, marker in re.findall(r"^([\w.-]+)==(\S+)(?: ; (.*?))? \\$", lock, re.M):
        if not marker or any(_asked(Marker(marker), system) for system in SYSTEMS):
            found.append(Package(name, version))
    return found


def _asked(marker: Marker, system: str) -> bool:
    machines = ("x86_64", "aarch64", "arm64", "AMD64")
    return any(marker.evaluate({"sys_platform": system, "platform_machine": m}) for m in machines)


def licence(name: str) -> str | None:
    """The SPDX expression of an installed package; None where it says nothing that is understood.

    Args:
        name: The package.
    """
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return str(expression)
    if name in READ:
        return READ[name]
    told = [str(about.get("License") or "").strip()]
    told += [c.split(" :: ")[-1] for c in about.get_all("Classifier") or [] if "License ::" in c]
    for text in filter(None, told):
        parts = [part.strip() for part in re.split(r" AND ", text.splitlines()[0])]
        if all(part in ALLOWED for part in parts):
            return " AND ".join(parts)
        for pattern, name_ in SPOKEN.items():
            if re.match(pattern, " ".join(text.split()), re.I):
                return name_
    return None


def refused(expression: str) -> list[str]:
    """The parts of an SPDX expression that are not allowed.

    Args:
        expression: Names joined by AND and OR, with parentheses.
    """
    parts = re.split(r"\s+(?:AND|OR)\s+", expression.replace("(", "").replace(")", ""))
    return [p for p in parts if p.strip() not in ALLOWED]


def main() -> None:
    """Write THIRD_PARTY.md, or say which package may not be used."""
    rows, faults = [], []
    for package in locked((ROOT / "supply" / "runtime.txt").read_text("utf-8")):
        try:
            found = licence(package.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{package.name} is not installed here: pip install {package.name}")
            continue
        if found is None:
            faults.append(f"{package.name} names no licence that is understood: look it up")
        elif bad := refused(found):
            faults.append(f"{package.name} is under {found}, and {', '.join(bad)} is not allowed")
        else:
            rows.append(f"| {package.name} | {found} |\n")
    if faults:
        sys.exit("\n".join(faults))
    (ROOT / "THIRD_PARTY.md").write_text(HEAD + "".join(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
