"""The pilots of claims as files, and what they say about δ and the number of seeds."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.engine.atomic import make_folder, write_bytes
from assay.engine.os_errors import writing_to
from assay.errors import InputError
from assay.evidence.claims import Plan, pilots
from assay.evidence.rule import LEVEL, by_part
from assay.evidence.tuning import made_with
from assay.safe_text import visible
from assay.stats.intervals import bounds, detectable

FOLDER = "pilots"


def path_of(name: str, world: str, folder: Path) -> Path:
    """Where the pilot of a paper in a world is.

    Args:
        name: The paper's name.
        world: The world's name, or its file.
        folder: Where result files are.
    """
    return folder / FOLDER / f"{name}.{Path(world).stem}.json"


def found(plan: Plan, folder: Path, *, again: bool = False) -> dict[str, dict[str, Any]]:
    """The pilots of a plan's papers: those on disk that are of these claims, and the rest run now
    and written.

    Args:
        plan: The papers and where they are run.
        folder: Where result files are.
        again: Run all of them.

    Raises:
        InputError: A pilot's file is damaged.
    """
    world = plan.world["name"]
    kept = {} if again else {n: p for n in plan.papers if (p := read(path_of(n, world, folder)))}
    claims = {n: claim for n, (_, claim) in plan.papers.items()}
    kept = {n: p for n, p in kept.items() if made_with(p, claims[n], plan.key(claims[n]))}
    lack = plan.only([n for n in plan.papers if n not in kept])
    made = pilots(lack) if lack.papers else {}
    for name, pilot in made.items():
        path = path_of(name, world, folder)
        with writing_to(path.parent):
            make_folder(path.parent)
        text = json.dumps(pilot, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_bytes(path, text.encode("utf-8"))
        print(visible(str(path)), file=sys.stderr)
    return {**kept, **made}


def read(path: Path) -> dict[str, Any] | None:
    """Read a pilot's file; None if it does not exist.

    Raises:
        InputError: It is damaged.
    """
    if not path.exists():
        return None
    try:
        pilot = json.loads(path.read_text(encoding="utf-8"))
        pilot["key"], pilot["chosen"], pilot["effects"]
    except (ValueError, LookupError, TypeError, RecursionError) as why:
        raise InputError(
            f"{path} is damaged ({type(why).__name__}: {str(why)[:80]}); delete it, and it is made "
            "again"
        ) from why
    return dict(pilot)


def told(name: str, pilot: Mapping[str, Any]) -> str:
    """What a pilot says: the constants, each part's mean and spread, the fall, and by how much a
    true effect has to exceed δ to be seen with so many seeds.
    """
    out = [f"{name}, seeds 0 to 4"]
    for arm, constants in pilot["chosen"].items():
        shown = ", ".join(f"{k} {v}" for k, v in constants.items())
        out.append(f"  {arm}: {shown}{_scores(pilot['table'].get(arm, []))}")
    effects = [by_part(e) for e in pilot["effects"] if e is not None]
    names = list(effects[0]) if effects else []
    level = 1 - (1 - LEVEL) / max(1, len(names))
    for part in names:
        values = [e[part] for e in effects]
        mean, low, high = bounds(values, level)
        seen = ", ".join(f"{n}: {_seen(values, n, level):.3g}" for n in (5, 10, 20, 40))
        out.append(
            f"  {part or 'effect'}: {mean:.4g} [{low:.4g}, {high:.4g}]; seen above δ "
            f"from, by seeds, {seen}"
        )
    falls = [d for d in pilot["drops"] if d is not None]
    fall, low, high = bounds(falls)
    if fall is not None:
        out.append(
            f"  the baseline falls by {fall:.4g} [{low:.4g}, {high:.4g}]; a tenth is "
            f"{fall / 10:.3g}"
        )
    return "\n".join([*out, *(f"  {note}" for note in pilot["notes"])])


def _scores(table: list[Mapping[str, Any]]) -> str:
    said = "; ".join(f"{s['constants']} {s['mean']:.4g}" for s in table)
    return f" of {said}" if said else ""


def _seen(values: list[float], seeds: int, level: float) -> float:
    """How far a mean has to lie above δ to be seen with so many seeds of this spread."""
    return detectable(statistics.stdev(values), seeds, level=level)
