"""manual: the pages of the papers, written from their files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError
from assay.evidence import claims, manual
from assay.registry import catalogue

FIRST = "# The papers\n"


def manual_(argv: list[str]) -> int:
    """assay manual [--out docs/systems] [--results claims] [--json]

    Writes one page a paper's file and a list of them, from the files' own text and the committed
    results. Pages of files that are gone are removed; a folder that holds anything else is left
    alone.
    """
    known = {
        "out": Flag("out", str, "docs/systems"),
        "results": Flag("results", str, "claims"),
        "json": Flag("json", bool),
    }
    words, given = flags.split(argv, ["json"])
    options = flags.parse(given, known, "assay manual")
    if words:
        raise InputError(f"assay manual takes no '{words[0]}'")
    entries = [e for e in catalogue.entries() if not e.fault]
    written = manual.pages(entries, claims.rows(entries, Path(options.get("results", "claims"))))
    folder = Path(options.get("out", "docs/systems"))
    list_ = folder / "README.md"
    if (
        folder.exists()
        and any(folder.iterdir())
        and not (list_.exists() and list_.read_text(encoding="utf-8").startswith(FIRST))
    ):
        raise InputError(
            f"{folder} holds something else than the pages of the papers; give another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    if options.get("json"):
        print(json.dumps({"folder": str(folder), "pages": sorted(written)}))
    else:
        print(f"{folder}: {len(written)} pages", file=sys.stderr)
    return 0
