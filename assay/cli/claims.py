"""claims: what the papers say and what was found here; `--run` finds out."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.api import settings
from assay.api.flags import Flag
from assay.api.values import several, value
from assay.cli import screen
from assay.cli.endings import ending
from assay.cli.grammar import Grammar
from assay.cli.verbs import Seen
from assay.engine.atomic import write_bytes
from assay.engine.progress import stage
from assay.engine.reserved import reserving
from assay.errors import InputError
from assay.registry import catalogue
from assay.safe_text import json_text

WIDE = 110  # columns of a terminal that has room for the reasons
WORLD = "table"  # where a claim is run if no world is named


def claims_(
    *,
    run: list[str] | None = None,
    seeds: str = "0..4",
    results: Path | None = None,
    write: bool = False,
    json_: bool = False,
    **given: Any,
) -> int:
    """List the papers' claims with what was found here, or run them.

    Without --run every claim is listed with its verdict, read from the results that come with assay
    and from yours: holds here, does not hold here, cannot be shown here, or not run. With --run the
    arms of a claim are run on every seed, which is the world's and the run's alike, and the result
    is written to RESULTS/NAME.WORLD.json. A result file that cannot be read is named, and the exit
    code is then 1.

    Args:
        run: A paper whose claim is run, or all. May be given again.
        seeds: The seeds, e.g. 0..4 (both ends included).
        results: The folder of result files: ./claims by default. Without that folder, the results
            that came with assay are listed.
        write: Write the list into CLAIMS.md.

    Example:
        assay claims
        assay claims --run grpo --world table --seeds 0..4
    """
    with stage("starting"):
        from assay.evidence import claims, verdicts

    papers = [e for e in catalogue.entries() if not e.fault]
    if run:
        _run(run, papers, given, seeds, results or Path("claims"))
    damaged = list[InputError]()
    found = claims.rows(papers, claims.folder(results), None if write else damaged.append)
    if write:
        write_bytes(Path("CLAIMS.md"), verdicts.markdown(found).encode())
        ending(("written", "CLAIMS.md"), as_json=json_)
    if json_:
        print(json_text(found))
    elif not write:
        head = ("name", "world", "verdict", "effect", "95 % interval", "seeds", "why")
        shown = len(head) if screen.width() >= WIDE else len(head) - 2
        rows = [_row(r)[:shown] for r in found]
        print(screen.table(head[:shown], rows, numbers=range(3, min(shown, 6))))
        ending(
            ("more on one", "assay show NAME"),
            ("run one", "assay claims --run NAME --seeds 0..4"),
        )
    for why in damaged:
        print(f"assay: {why}", file=sys.stderr)
    return 1 if damaged else 0


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the Loop's fields and the world's arguments, where a claim is run."""
    if "run" not in seen.flags:
        return replace(base, what="assay claims without --run")
    world = seen.flags.get("world") or WORLD
    loop = {k: f for k, f in settings.loop().items() if k != "seed"}
    theirs = {k: f for k, f in settings.world_flags(world).items() if k != "world.seed"}
    place = {"world": Flag("world", str, WORLD, settings.run()["world"].help, group="World")}
    return replace(
        base,
        flags={**base.flags, **place, **loop, **theirs},
        what=f"assay claims in world {world}",
        elsewhere=settings.elsewhere,
    )


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """One claim, for a person."""
    measured = ("", "", "")
    if row["low"] is not None:
        measured = (
            f"{row['effect']:.3f}",
            f"[{row['low']:.3f}, {row['high']:.3f}]",
            str(row["seeds"]),
        )
    why = row["why"] if row["world"] and row["why"] else ""
    return (row["name"], row["world"] or "", row["verdict"], *measured, why)


def _run(
    names: list[str],
    papers: list[catalogue.Entry],
    given: Mapping[str, Any],
    seeds: str,
    folder: Path,
) -> None:
    """Run some papers' claims and write their result files."""
    from assay.evidence import claims

    world = given.get("world") or WORLD
    everything = "all" in names
    chosen = (
        [e for e in papers if e.statement] if everything else [catalogue.find(n) for n in names]
    )
    fit = (
        [e for e in chosen if world in claims.claim_of(e).worlds]
        if everything or not catalogue.is_path(world)
        else chosen
    )
    if not everything and len(fit) < len(chosen):
        odd = next(e for e in chosen if e not in fit)
        raise InputError(
            f"{odd.name}'s claim is about {', '.join(claims.claim_of(odd).worlds)}, not about "
            f"{world}"
        )
    loop = {k: v for k, v in given.items() if k in settings.loop()}
    arguments = {k.removeprefix("world."): v for k, v in given.items() if k.startswith("world.")}
    numbers = [value(s, int, "--seeds") for s in several(seeds)]
    how: dict[str, Any] = {"world": world, "world_arguments": arguments, "loop": loop}
    with ExitStack() as held:
        for entry in sorted(fit, key=lambda e: e.name):
            held.enter_context(reserving(claims.path_of(entry.name, world, folder)))
        for result in claims.run(fit, seeds=numbers, **how):
            print(claims.save(result, folder), file=sys.stderr)
