"""run: one recipe, one world, one folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.cli import settings
from assay.cli.endings import after_run
from assay.cli.grammar import Grammar
from assay.cli.listing import started_by
from assay.cli.verbs import Seen
from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.catalogue import Entry

if TYPE_CHECKING:
    from assay.cli.orders import Order

INSTEAD = "Without it, the recipe runs in the embedded world that --world names."


def run_(
    recipe: str = "",
    *,
    out: Path | None = None,
    resume: bool = False,
    from_: str = "",
    track: list[str] | None = None,
    project: str = "assay",
    json_: bool = False,
    **given: Any,
) -> int:
    """Optimise a policy by a recipe, and measure gold apart.

    A model of your own needs --model, --prompts and what the recipe learns from: --rewards, --pairs
    or --demos. --gold is read in evaluations only. `assay run RECIPE --help` adds the recipe's
    constants, and `assay run RECIPE --world table --help` shows the flags of an embedded world, for
    experiments. Every reading goes to the run's folder, and `assay report` draws it.

    Args:
        recipe: A recipe that `assay list` names, or the path of a Python file such as ./mine.py.
        out: The run's folder; runs/RECIPE where it is not given. A folder that exists is never
            overwritten.
        resume: Go on with the run in --out, with the arguments of its record.
        from_: The folder of a run whose arguments are taken; flags given here go over them.
        track: Send readings as they come to tensorboard, trackio or wandb. May be given again.
        project: The project's name at the trackers.

    Example:
        assay run grpo --model ./model --prompts prompts.jsonl
            --rewards judge.py:score --gold gold.py:score --out runs/grpo
        assay run leave_one_out --world table --max-steps 40 --out runs/table
        assay run --resume --out runs/grpo
    """
    entry, values = asked_for(recipe, given, out, resume, from_)
    if entry.verb != "recipe":
        raise InputError(f"{entry.name} is a {entry.verb}: start it by {started_by(entry)}")
    folder = free(Path("runs") / entry.name) if out is None else out
    if not resume:
        must_be_free(folder)
    from assay.cli import orders
    from assay.engine import parallel
    from assay.records import tracking

    trackers = tracking.possible(track or ())
    order = orders.order(entry, values)
    with parallel.group():
        return _run(order, folder, trackers, project, resume, json_)


def _run(
    order: Order, folder: Path, trackers: tuple[str, ...], project: str, resume: bool, as_json: bool
) -> int:
    """In every process of a launch."""
    from assay.cli import execution, screen
    from assay.engine import parallel
    from assay.records import tracking
    from assay.records.runs import Run

    first = parallel.rank() == 0
    if resume and (folder / "run.json").exists() and Run.open(folder).about["state"] == "done":
        run = Run.open(folder)
        print(f"assay: {folder} is done already", file=sys.stderr)
    else:
        world = execution.Worlds()(order)
        run = execution.drive(
            order,
            world,
            folder,
            resume=resume,
            say=screen.teller(first, as_json),
            track=lambda run: tracking.Tracked(run, trackers, project),
        )
    if first:
        print(json.dumps(execution.summary(run), ensure_ascii=False) if as_json else folder)
        after_run(run, as_json=as_json)
    return 0


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the flags of the recipe, the world and the fit that are typed, or those of the
    record.
    """
    if len(seen.words) > 1 and base.verb == "run":
        raise InputError(
            f"assay run takes one recipe, and found {', '.join(seen.words)}; assay sweep takes "
            "several"
        )
    base = replace(base, flags={k: replace(f, group="Run") for k, f in base.flags.items()})
    about = recorded(source) if (source := _source(seen.flags)) else None
    world, fit = _place(seen, about)
    embedded = world
    if "help" in seen.flags and not about and not seen.flags.get("world"):
        world = "hub"  # help is of a model of one's own, unless a world is named
    name = seen.words[0] if seen.words else (about or {}).get("path") or (about or {}).get("recipe")
    if name:
        entry = catalogue.find(name)
        found = settings.known(entry, world, fit)
        base = replace(base, what=f"{entry.name} in world {world}", named=f" {name}")
    else:
        theirs = settings.bare(settings.world_flags(world), {})
        found = {**settings.run(), **settings.loop(), **theirs}
    found["world"] = replace(found["world"], default=embedded)  # the one that other flags imply
    if world != embedded:
        model = found["world.policy"]
        model = replace(model, default=None, help=f"{model.help} {INSTEAD}")
        found = {"world.policy": model, **{k: f for k, f in found.items() if k != "world.policy"}}
    return replace(base, flags={**base.flags, **found}, elsewhere=settings.elsewhere)


def recorded(folder: str) -> Mapping[str, Any]:
    """The record of a run. Its reader is imported here, because help needs none."""
    from assay.records.runs import Run

    return Run.open(folder).about


def _source(flags: Mapping[str, Any]) -> str:
    """The folder whose record gives the arguments; "" for a new run."""
    if flags.get("from") and "resume" not in flags:
        return str(flags["from"])
    out = flags.get("out", "")
    return (
        out
        if "resume" in flags and "from" not in flags and out and (Path(out) / "run.json").exists()
        else ""
    )


def _place(seen: Seen, about: Mapping[str, Any] | None) -> tuple[str, str]:
    """The world and the fit, which have to be known before their flags are."""
    recorded = about or {"world": {}, "fit": {}}
    world = seen.flags.get("world") or settings.implied(seen.flags) or recorded["world"].get("name")
    fit = seen.flags.get("fit") or (recorded.get("fit") or {}).get("name")
    return str(world or settings.run()["world"].default), str(fit or "")


def asked_for(
    recipe: str, given: Mapping[str, Any], out: Path | None, resume: bool, source: str
) -> tuple[Entry, dict[str, Any]]:
    """The recipe and its values by flag name; a record that is resumed or replayed is read.

    Args:
        recipe: The name or path that was typed, "" where none was.
        given: Values by flag name, from the command line and a config file.
        out: The run's folder.
        resume: Whether it goes on.
        source: The run whose arguments are taken, "" where none is.
    """
    if resume and out is None:
        raise InputError("--resume needs --out, the folder of the run to go on with")
    if resume and source:
        raise InputError(
            "--resume goes on with a run and --from starts one like it: give one of the two"
        )
    given = settings.placed(given)
    if resume and out is not None and (out / "run.json").exists():
        source = str(out)
    if not source:
        if not recipe:
            said = f": {out} holds no run yet" if resume else ""
            raise InputError(f"assay run needs a recipe{said}; assay list names them")
        return catalogue.find(recipe), given
    about = recorded(source)
    entry = catalogue.find(recipe or about.get("path") or about["recipe"])
    if entry.name != about["recipe"]:
        raise InputError(f"{source} is a run of {about['recipe']}, and {entry.name} was asked for")
    from assay.cli import inputs, orders

    before = orders.recorded(about, entry, source)
    if resume:
        unchanged(before, given, source)
        inputs.unchanged(about, source)
    elif given.get("world", before["world"]) != before["world"]:
        before = {k: v for k, v in before.items() if not k.startswith("world")}
    if given.get("fit", before.get("fit")) != before.get("fit"):
        before = {k: v for k, v in before.items() if not k.startswith("fit")}
    return entry, {**before, **given}


def unchanged(before: Mapping[str, Any], now: Mapping[str, Any], source: str) -> None:
    """Check that a run goes on as it began.

    Args:
        before: The record's values by flag name.
        now: The values that are asked for.
        source: The run, for the message.

    Raises:
        InputError: An argument differs; the first one is named.
    """
    from assay.cli import orders

    for name, v in now.items():
        if name not in orders.FREE and before.get(name) != v:
            raise InputError(
                f"{source} was begun with --{name.replace('_', '-')} {before.get(name)!r} and "
                "this asks for "
                f"{v!r}: leave it out to go on, or start another run with --from {source}"
            )


def must_be_free(folder: Path) -> None:
    """Before the world is built, so that a refusal comes at once. Raises InputError where
    something is there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        there = (folder / "run.json").exists()
        raise InputError(
            f"{folder} exists, and a run is never overwritten: give another --out"
            + (", or go on with it by --resume" if there else "")
        )


def free(folder: Path) -> Path:
    """The folder, or the first of folder-2, folder-3 … that does not exist."""
    names = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(f for f in names if not f.exists())
