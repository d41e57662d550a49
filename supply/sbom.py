"""Write the bill of materials of an environment into dist/, as CycloneDX JSON.

    python supply/sbom.py .venv-locked/bin/python

cyclonedx-py lists the installed packages. This adds what it cannot see: the version of assay,
which stands in its source, and the programs in vl-convert-python that a report carries.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = """import vl_convert as v
print(v.get_vega_version(), v.get_vegalite_versions()[-1], v.get_vega_embed_version())"""
VL_CONVERT = "vl-convert-python"


def listed(python: str) -> dict[str, Any]:
    """What cyclonedx-py finds in an environment.

    Args:
        python: The environment's interpreter.
    """
    words = ["-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    words += ["--pyproject", "pyproject.toml", "--mc-type", "library", "--no-validate", python]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def completed(bill: dict[str, Any], version: str, programs: list[str]) -> dict[str, Any]:
    """The bill with the version of assay and the programs of the charts.

    Args:
        bill: What cyclonedx-py found.
        version: The version of assay.
        programs: The versions of Vega, Vega-Lite and vega-embed.
    """
    bill["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/assay@{version}"}
    (holder,) = (c for c in bill["components"] if c["name"] == VL_CONVERT)
    holder["components"] = [
        {
            "bom-ref": f"{name}@{number}",
            "type": "library",
            "name": name,
            "version": number,
            "purl": f"pkg:npm/{name}@{number}",
            "licenses": [{"license": {"id": "BSD-3-Clause", "acknowledgement": "declared"}}],
        }
        for name, number in zip(("vega", "vega-lite", "vega-embed"), programs, strict=True)
    ]
    return bill


def main(python: str) -> None:
    """Write dist/assay-VERSION.cdx.json, if it is valid."""
    asked = subprocess.run([python, "-c", PROGRAMS], check=True, capture_output=True, text=True)
    ours = "import assay; print(assay.__version__)"
    version = subprocess.run([python, "-c", ours], check=True, capture_output=True, text=True)
    bill = completed(listed(python), version.stdout.strip(), asked.stdout.split())
    name = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["name"]
    text = json.dumps(bill, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if str(ROOT) in text or "file:/" in text:
        sys.exit("the bill names a folder of this machine: install from an index, not from a path")
    if fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"the bill is no valid CycloneDX: {fault}")
    out = ROOT / "dist" / f"{name}-{version.stdout.strip()}.cdx.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(f"{out.relative_to(ROOT)}: {len(bill['components'])} packages")


if __name__ == "__main__":
    main(sys.argv[1])
