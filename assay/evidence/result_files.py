"""Result files of claims: written by a run, read as rows with their verdicts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from assay.engine.atomic import make_folder, write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.evidence.rule import judged, summary
from assay.registry.catalogue import Entry


def save(result: Mapping[str, Any], folder: Path) -> Path:
    """Write one result, over an older one, whose verdict it keeps where that was of other seeds or
    of another form of the claim.

    Args:
        result: What `claims.run` returned of one paper.
        folder: Where result files are.

    Returns:
        The file, NAME.WORLD.json.
    """
    with writing_to(folder):
        make_folder(folder)
    path = path_of(result["name"], result["world"]["name"], folder)
    result = {**result, "earlier": _earlier(path, result)}
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8"))
    return path


def _earlier(path: Path, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts that a result replaces: seeds that were looked at are not forgotten."""
    if not path.exists():
        return []
    old = read(path)
    kept = list(old.get("earlier", []))
    same = all(old.get(k) == result.get(k) for k in ("arms", "least", "statement"))
    if same and set(old["seeds"]) <= set(result["seeds"]):
        return kept
    return [*kept, summary(old)]


def path_of(name: str, world: str, folder: Path) -> Path:
    """Return where the result of a paper in a world is.

    Args:
        name: The paper's name.
        world: The world's name, or its file.
        folder: Where result files are.
    """
    return folder / f"{name}.{Path(world).stem}.json"


def folder(given: Path | None) -> Path:
    """Return where results are read from.

    Args:
        given: The user's folder; None for `claims` in the current folder or, where there is none,
            the results that came with assay.
    """
    here = given or Path("claims")
    if given is not None or here.exists():
        return here
    packed = Path(__file__).parent / "found"  # pyproject.toml puts claims/ there in a wheel
    return packed if packed.exists() else Path(__file__).resolve().parents[2] / "claims"


def rows(
    entries: Iterable[Entry],
    folder: Path,
    damaged: Callable[[InputError], None] | None = None,
) -> list[dict[str, Any]]:
    """Return every claim with its verdict. Runs nothing.

    Args:
        entries: The papers; those without a claim are left out.
        folder: Where result files are.
        damaged: Is told of a result file that cannot be read, which is then left out.

    Returns:
        One row a result file, or one "not run" row where a claim has none.

    Raises:
        InputError: A result file cannot be read, and `damaged` is None.
    """
    out = []
    for e in entries:
        if e.statement is None:
            continue
        found = list[dict[str, Any]]()
        for path in sorted(folder.glob(f"{e.name}.*.json")):
            try:
                found.append(read(path))
            except InputError as why:
                if damaged is None:
                    raise
                damaged(why)
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
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as why:
        raise InputError(
            f"{path} is damaged ({type(why).__name__}: {str(why)[:80]}); run assay claims --run "
            "again"
        ) from why
    return dict(result)
