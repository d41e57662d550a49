"""Result files of claims: written by a run, read as rows with their verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from assay.engine.atomic import write_bytes
from assay.errors import InputError
from assay.evidence.rule import judged
from assay.registry.catalogue import HOME, Entry


def save(result: Mapping[str, Any], folder: Path) -> Path:
    """Write one result, over an older one.

    Args:
        result: What `claims.run` returned of one paper.
        folder: Where result files are.

    Returns:
        The file, NAME.WORLD.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result['name']}.{Path(result['world']['name']).stem}.json"
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))
    return path


def shipped() -> Path:
    """The folder of the results that come with assay: the checkout's, or its copy in the wheel."""
    inside = HOME / "evidence" / "found"  # pyproject.toml puts it there
    return inside if inside.is_dir() else HOME.parent / "claims"


def rows(entries: Iterable[Entry], *folders: Path) -> list[dict[str, Any]]:
    """Return every claim with its verdict. Runs nothing.

    Args:
        entries: The papers; those without a claim are left out.
        folders: Where result files are; a file of a later folder stands in for its namesake.

    Returns:
        One row a result file, or one "not run" row where a claim has none.
    """
    out = []
    files = {p.name: p for folder in folders for p in sorted(folder.glob("*.json"))}
    for e in entries:
        if e.statement is None:
            continue
        found = [read(files[name]) for name in sorted(files) if name.startswith(f"{e.name}.")]
        said = {"statement": e.statement, "measure": " ".join(e.effect.split())}
        out += [{**judged(r), **said} for r in found] or [
            {
                "name": e.name,
                "title": e.title,
                "verdict": "not run",
                "effect": None,
                "low": None,
                "high": None,
                "seeds": 0,
                "world": None,
                **said,
                "why": "there is no result yet",
            }
        ]
    return out


def read(path: Path) -> dict[str, Any]:
    """Return a result file.

    Args:
        path: The file.

    Raises:
        InputError: It is damaged.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        judged(result)
    except (ValueError, KeyError, TypeError) as why:
        raise InputError(
            f"{path} is damaged ({type(why).__name__}: {str(why)[:80]}); run assay claims --run "
            "again"
        ) from why
    return dict(result)
