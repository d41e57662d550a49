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
FIRST = 5  # the first seed that no constant is chosen on


def claims_(
    *,
    run: list[str] | None = None,
    seeds: str = "",
    pilot: bool = False,
    results: Path | None = None,
    write: bool = False,
    json_: bool = False,
    **given: Any,
) -> int:
    """List the papers' claims with what was found here, or run them.

    Without --run every claim is listed with its verdict, read from the results that come with assay
    and from yours: holds here, does not hold here, undecided, no verdict, or not run. With --run
    the arms of a claim are run on every seed that its file numbers, and the result is written to
    RESULTS/NAME.WORLD.json. A seed is the world's and the run's alike. Before them comes the pilot
    on seeds 0 to 4, which chooses the arms' constants; it is kept in RESULTS/pilots. A result file
    that cannot be read is named, and the exit code is then 1.

    Args:
        run: A paper whose claim is run, or all. May be given again.
        seeds: Other seeds, e.g. 100..149 (both ends included). More than the claim's file numbers
            are judged by an interval that is valid at any time; fewer get no verdict.
        pilot: Run only the pilot again, and say by which δ and seeds the claim could be judged.
        results: The folder of result files: ./claims by default. Without that folder, the results
            that came with assay are listed.
        write: Write the list into CLAIMS.md.

    Example:
        assay claims
        assay claims --run grpo --world table
    """
    with stage("starting"):
        from assay.evidence import claims, verdicts

    papers = [e for e in catalogue.entries() if not e.fault]
    if run:
        _run(run, papers, given, seeds, pilot, results or Path("claims"))
        if pilot:
            return 0
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
            ("run one", "assay claims --run NAME"),
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
    flags = settings.world_flags(world)
    theirs = {k: f for k, f in flags.items() if k != "world.seed"}
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
    pilot: bool,
    folder: Path,
) -> None:
    """Run some papers' claims and write their result files."""
    from assay.evidence import claims, pilots

    world = given.get("world") or WORLD
    fit = _chosen(names, papers, world)
    loop = {k: v for k, v in given.items() if k in settings.loop()}
    arguments = {k.removeprefix("world."): v for k, v in given.items() if k.startswith("world.")}
    numbers = [value(s, int, "--seeds") for s in several(seeds)] if seeds else None
    if numbers and min(numbers) < FIRST:
        raise InputError(
            f"--seeds holds {min(numbers)}, and seeds 0 to {FIRST - 1} are the pilot's: constants "
            "and δ are chosen on them; give others, or --pilot"
        )
    plan = claims.Plan(fit, world=world, world_arguments=arguments, loop=loop)
    with ExitStack() as held:
        for entry in sorted(fit, key=lambda e: e.name):
            held.enter_context(reserving(claims.path_of(entry.name, world, folder)))
        made = pilots.found(plan, folder, again=pilot)
        for name in plan.papers if pilot else ():
            print(pilots.told(name, made[name]))
        if not pilot:
            for result in claims.run(plan, pilot=made, seeds=numbers):
                print(claims.save(result, folder), file=sys.stderr)


def _chosen(names: list[str], papers: list[catalogue.Entry], world: str) -> list[catalogue.Entry]:
    """The papers whose claims are run in a world."""
    from assay.evidence import claims

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
    return fit
