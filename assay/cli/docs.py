"""manual: the pages of the papers, written from their files."""

from __future__ import annotations

from pathlib import Path

from assay.cli.endings import ending
from assay.engine.atomic import write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.registry import catalogue
from assay.safe_text import json_text

FIRST = "# The papers\n"


def manual_(
    *, out: Path = Path("docs/systems"), results: Path | None = None, json_: bool = False
) -> int:
    """Write the papers' pages from their files.

    One page a paper and a list of them, from the files' own text and the committed results. Pages
    of files that are gone are removed; a folder that holds anything else is left alone.

    Args:
        out: The folder of the pages.
        results: The folder of the claims' result files: ./claims by default. Without that folder,
            the results that came with assay.

    Example:
        assay manual
        assay manual --out pages
    """
    from assay.evidence import claims, manual

    entries = [e for e in catalogue.entries() if not e.fault]
    written = manual.pages(entries, claims.rows(entries, claims.folder(results)))
    index = out / "README.md"
    ours = index.exists() and index.read_text(encoding="utf-8").startswith(FIRST)
    if out.exists() and any(out.iterdir()) and not ours:
        raise InputError(
            f"{out} holds something else than the pages of the papers; give another --out"
        )
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.md"):
        if old.name not in written:
            old.unlink()
    for name, text in written.items():
        write_bytes(out / name, text.encode())
    if json_:
        print(json_text({"folder": str(out), "pages": sorted(written)}))
    else:
        ending(("written", f"{out}: {len(written)} pages"))
    return 0
