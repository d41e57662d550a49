"""run: one recipe, one world, one folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.api import settings
from assay.api.resuming import free, must_be_free, unchanged
from assay.cli.elsewhere import of_a_file, of_a_sweep, with_a_model
from assay.cli.endings import after_run
from assay.cli.grammar import Grammar
from assay.cli.listing import started_by
from assay.cli.verbs import Seen
from assay.engine.progress import stage
from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.catalogue import Entry
from assay.safe_text import json_text

if TYPE_CHECKING:
    from assay.api.orders import Order
    from assay.core import World
    from assay.records.runs import Run
    from assay.records.tracking import Tracked

INSTEAD = "Without it, the recipe runs in the embedded world that --world names."


def run_(
    recipe: str = "",
    *,
    out: Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
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
        accept_changes: With --resume, go on though files that the run began with have changed. Its
            record says which.
        from_: The folder of a run whose arguments are taken; flags given here go over them.
        track: Send readings as they come to tensorboard, trackio or wandb. May be given again.
        project: The project's name at the trackers.

    Example:
        assay run grpo --model ./model --prompts prompts.jsonl
            --rewards judge.py:score --gold gold.py:score --out runs/grpo
        assay run leave_one_out --world table --max-steps 40 --out runs/table
        assay run --resume --out runs/grpo
    """
    entry, values = asked_for(recipe, given, out, resume, from_, accept=accept_changes)
    if entry.verb != "recipe":
        raise InputError(f"{entry.name} is a {entry.verb}: start it by {started_by(entry)}")
    folder = free(Path("runs") / entry.name) if out is None else out
    if not resume:
        must_be_free(folder)
    with stage("starting"):
        from assay.api import orders
        from assay.api.needs import check_needs
        from assay.engine import parallel
        from assay.records import tracking

        trackers = tracking.possible(track or ())
        order = orders.order(entry, values)
        check_needs(order)
    with parallel.group():
        return _run(order, folder, trackers, project, resume, json_)


def _run(
    order: Order, folder: Path, trackers: tuple[str, ...], project: str, resume: bool, as_json: bool
) -> int:
    """In every process of a launch."""
    with stage("starting"):
        from assay.api import execution
        from assay.cli import outcome, screen
        from assay.engine import parallel
        from assay.evaluation.tidy import tidied
        from assay.records import tracking
        from assay.records.run_warnings import collapsed
        from assay.records.runs import Run

    first = parallel.rank() == 0
    if resume and (folder / "run.json").exists() and Run.open(folder).about["state"] == "done":
        run = tidied(folder)
        print(f"assay: {outcome.done(run)}", file=sys.stderr)
    else:
        world = execution.Worlds()(order, folder if resume else None)
        run = drive(
            order,
            world,
            folder,
            resume=resume,
            say=screen.teller(first, as_json),
            track=lambda run: tracking.Tracked(run, trackers, project),
        )
    if first:
        print(json_text(execution.summary(run)) if as_json else folder)
        after_run(run, as_json=as_json)
    return 4 if collapsed(run.about) else 0


def drive(
    order: Order,
    world: World,
    folder: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
    track: Callable[[Run], Tracked] | None = None,
) -> Run:
    """Run an order into a folder, one line a reading; return the run.

    Args:
        order: The order.
        world: Its world.
        folder: The run's folder.
        resume: Go on from the folder's last checkpoint.
        say: Is given each reading's line.
        track: See `Drive.readings`.
    """
    from assay.api.execution import Drive
    from assay.cli import screen
    from assay.evaluation.lines import reading_line
    from assay.records.best import again
    from assay.records.runs import Run

    driven = Drive(order, world, folder, resume=resume)
    more = {} if track is None else {"track": track}
    try:
        for reading in driven.readings(tell=screen.note, **more):
            say(reading_line(reading))
    except KeyboardInterrupt as why:
        raise type(why)(f"go on with: {again(Run.open(folder))}") from why
    return Run.open(folder)


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
    name = seen.words[0] if seen.words else (about or {}).get("path") or (about or {}).get("recipe")
    entry = catalogue.find(name, "recipe") if name else None
    world, fit = _place(seen, about, own := catalogue.own_world(entry))
    embedded = world
    if "help" in seen.flags and not about and not (own or seen.flags.get("world")):
        world = "hub"  # help is of a model of one's own, unless a world is named
    if entry is not None:
        found = settings.known(entry, world, fit)
        base = replace(base, what=f"{entry.name} in world {world}", named=f" {name}")
    else:
        ours = {**settings.run(), **settings.loop_of(world, {})}
        found = {**ours, **settings.bare(settings.world_flags(world), ours)}
    found["world"] = replace(found["world"], default=embedded)  # the one that other flags imply
    if world != embedded:
        model = found["world.policy"]
        model = replace(model, default=None, help=f"{model.help} {INSTEAD}")
        found = {"world.policy": model, **{k: f for k, f in found.items() if k != "world.policy"}}
    every = {**base.flags, **found}
    free = world != "hub" and not seen.flags.get("world") and not about
    where = partial(with_a_model, known=every) if free else settings.elsewhere
    told = of_a_file if free else base.mistyped
    if base.verb == "run":
        where = partial(of_a_sweep, otherwise=where)
    return replace(base, flags=every, elsewhere=where, mistyped=told)


def recorded(folder: str) -> Mapping[str, Any]:
    """The record of a run. Its reader is imported here, because help needs none."""
    from assay.records.own_code import only_known_code
    from assay.records.runs import Run

    about = Run.open(folder).about
    only_known_code(about, folder)
    return about


def _source(flags: Mapping[str, Any]) -> str:
    """The folder whose record gives the arguments; "" for a new run."""
    if flags.get("from") and "resume" not in flags:
        return str(flags["from"])
    out = flags.get("out", "") if "resume" in flags and "from" not in flags else ""
    return out if out and (Path(out) / "run.json").exists() else ""


def _place(seen: Seen, about: Mapping[str, Any] | None, own: str) -> tuple[str, str]:
    """The world and the fit, which have to be known before their flags are."""
    recorded = about or {"world": {}, "fit": {}}
    world = seen.flags.get("world") or settings.implied(seen.flags) or recorded["world"].get("name")
    fit = seen.flags.get("fit") or (recorded.get("fit") or {}).get("name")
    return str(world or own or settings.run()["world"].default), str(fit or "")


def asked_for(
    recipe: str,
    given: Mapping[str, Any],
    out: Path | None,
    resume: bool,
    source: str,
    *,
    accept: bool = False,
) -> tuple[Entry, dict[str, Any]]:
    """The recipe and its values by flag name; a record that is resumed or replayed is read.

    Args:
        recipe: The name or path that was typed, "" where none was.
        given: Values by flag name, from the command line and a config file.
        out: The run's folder.
        resume: Whether it goes on.
        source: The run whose arguments are taken, "" where none is.
        accept: Whether a run goes on though its inputs have changed.
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
        return catalogue.find(recipe, "recipe"), given
    about = recorded(source)
    entry = catalogue.find(recipe or about.get("path") or about["recipe"] or "")
    if entry.name != about["recipe"]:
        raise InputError(f"{source} is a run of {about['recipe']}, and {entry.name} was asked for")
    from assay.api import inputs, orders

    before = orders.recorded(about, entry, source)
    if resume:
        try:
            unchanged(before, given, source)
        except InputError as why:
            if about["state"] != "done":
                raise
            from assay.cli import outcome
            from assay.records.runs import Run

            raise InputError(outcome.done(Run.open(source))) from why
        inputs.unchanged(about, source, accept=accept)
    elif given.get("world", before["world"]) != before["world"]:
        before = {k: v for k, v in before.items() if not k.startswith("world")}
    if given.get("fit", before.get("fit")) != before.get("fit"):
        before = {k: v for k, v in before.items() if not k.startswith("fit")}
    return entry, {**before, **given}
