"""claims: what the papers say and what was found here; `--run` finds out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from assay.cli import execution, flags, progress
from assay.cli.flags import Flag
from assay.errors import InputError
from assay.evidence import claims, verdicts
from assay.registry import catalogue

HERE = {
    "json": Flag("json", bool, False, "print JSON"),
    "write": Flag("write", bool, False, "write CLAIMS.md"),
    "run": Flag("run", str, None, "a paper whose claim is run, or all", many=True),
    "seeds": Flag("seeds", str, "0..4"),
    "results": Flag("results", str, "claims", "the folder of result files"),
}


def claims_(argv: list[str]) -> int:
    """assay claims [--json] [--write] [--run NAME|all] [--seeds 0..4] [--world table]
    [--world.ARGUMENT …] [--steps …]

    Without --run: every claim with its verdict, read from claims/*.json; --write puts them into
    CLAIMS.md. With --run: runs the claim's arms on every seed (the world's seed and the run's
    alike) and writes claims/NAME.WORLD.json. Verdicts: holds here, does not hold here, cannot be
    shown here, not run.
    """
    words, given = flags.split(argv, ["json", "write"])
    if words:
        raise InputError(
            f"assay claims takes no '{words[0]}'; assay claims --run {words[0]} runs one"
        )
    here = flags.parse([g for g in given if g[0] in HERE], HERE, "assay claims")
    rest = [g for g in given if g[0] not in HERE]
    folder = Path(here.get("results", HERE["results"].default))
    papers = [e for e in catalogue.entries() if not e.fault]
    if "run" in here:
        run(here["run"], papers, rest, here.get("seeds", HERE["seeds"].default), folder)
    elif rest:
        raise InputError(f"assay claims has no --{rest[0][0].replace('_', '-')} without --run")
    found = claims.rows(papers, folder)
    if here.get("write"):
        Path("CLAIMS.md").write_text(verdicts.markdown(found), encoding="utf-8")
        print("CLAIMS.md", file=sys.stderr)
    if here.get("json"):
        print(json.dumps(found, ensure_ascii=False))
    elif not here.get("write"):
        for row in found:
            print(line(row))
    return 0


def line(row: dict[str, Any]) -> str:
    """One claim, for a person."""
    found = (
        ""
        if row["low"] is None
        else f"  {row['effect']:.3f} [{row['low']:.3f}, {row['high']:.3f}], {row['seeds']} seeds"
    )
    why = f"  ({row['why']})" if row["world"] and row["why"] else ""
    return f"{row['name']:<22}{row['world'] or '':<9}{row['verdict']}{found}{why}"


def run(
    names: list[str],
    papers: list[catalogue.Entry],
    rest: list[tuple[str, str | None]],
    seeds: str,
    folder: Path,
) -> None:
    """Run some papers' claims and write their result files."""
    world = next((v for k, v in rest if k == "world" and v), "table")
    known = {
        "world": Flag("world"),
        **{k: f for k, f in execution.LOOP.items() if k != "seed"},
        **flags.of(catalogue.load_world(world), prefix="world.", without=("seed",)),
    }
    values = flags.parse(rest, known, f"assay claims in world {world}")
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
    loop = {k: v for k, v in values.items() if k in execution.LOOP}
    arguments = {k.removeprefix("world."): v for k, v in values.items() if k.startswith("world.")}
    numbers = [flags.value(s, int, "--seeds") for s in flags.several(seeds)]
    with progress.bar("claims", 1) as shown:

        def around(
            recipe: Callable[..., Iterator[Any]], label: str
        ) -> Callable[..., Iterator[Any]]:
            shown.reset()
            shown.set_description(label)
            return progress.watched(recipe, shown)

        for result in claims.run(
            fit, seeds=numbers, world=world, world_arguments=arguments, loop=loop, around=around
        ):
            shown.write(str(claims.save(result, folder)), file=sys.stderr)
