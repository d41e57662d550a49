"""run: one recipe, one world, one folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.cli import execution, flags, inputs
from assay.cli.flags import Flag
from assay.engine import parallel
from assay.errors import InputError
from assay.records import tracking
from assay.records.runs import Run
from assay.registry import catalogue
from assay.registry.catalogue import Entry

HERE = {
    "track": Flag("track", str, None, "a tracker that readings are sent to", many=True),
    "project": Flag("project", str, "assay", "the trackers' project"),
    "out": Flag("out", str, None, "the run's folder"),
    "resume": Flag("resume", bool, False, "go on with the run that is there"),
    "from": Flag("from", str, None, "a run whose arguments are taken over"),
    "json": Flag("json", bool, False, "print JSON"),
}


def run_(argv: list[str]) -> int:
    """assay run NAME|./mine.py [--CONSTANT …] [--world NAME] [--world.ARGUMENT …] [--out FOLDER]

    The recipe's constants are its flags (assay show NAME); so are the Loop's fields (--max-steps --batch-size --num-generations --epochs
    --mini-batch-size --learning-rate --warmup-steps --seed) and, with the prefix, the world's arguments.
      --world NAME      a world (assay list has them), or the path of a file with a function world (default grammar)
      --fit NAME        fit the world's judges anew by this paper; its constants are --fit.x, its Loop --fit.max-steps …
      --out FOLDER      where the record goes, default runs/NAME; a folder that exists is never overwritten
      --resume          go on with the run in --out; its arguments are taken from its record
      --from FOLDER     take the arguments of another run; flags given here go over them
      --eval-steps K         read the policy every K steps (default 5);  --eval-generations N  answers a held-out prompt (default 8)
      --save-steps K          save every K steps (default 10);  --log-completions N  prompts whose answers are stored (default 8)
      --micro-batch-size K         rows a forward pass, 0 for all: less memory, the same numbers
      --watch WHO       buy labels at every reading and stop when the run has turned: gold, FILE.py:function, csv, page, or
                        http://…; --watch.budget --watch.alpha --watch.delta --watch.flip … (docs/watch.md)
      --policies        keep every policy that is read, so that `assay watch` can look at the finished run
      --track NAME      send readings as they come to tensorboard, trackio or wandb as well (may be given again); --project P
      --stop-on-nonfinite          a step that is not finite ends the run
      --json            print what came of it as JSON
    """
    entry, values, here = asked_for(argv)
    if entry.verb != "recipe":
        given = "FILE" if entry.verb == "fit" else entry.name
        raise InputError(f"{entry.name} is a {entry.verb}: start it by assay {entry.verb} {given}")
    trackers, resume = tracking.possible(here.get("track", ())), bool(here.get("resume"))
    order = execution.order(entry, values)
    folder = Path(here["out"]) if "out" in here else free(Path("runs") / entry.name)
    if not resume:
        must_be_free(folder)
    with parallel.group():
        return _run(order, folder, here, trackers, resume)


def _run(
    order: execution.Order,
    folder: Path,
    here: Mapping[str, Any],
    trackers: tuple[str, ...],
    resume: bool,
) -> int:
    """In every process of a launch."""
    first = parallel.rank() == 0
    if resume and (folder / "run.json").exists() and Run.open(folder).about["state"] == "done":
        run = Run.open(folder)
        print(f"assay: {folder} is done already", file=sys.stderr)
    else:
        world = execution.Worlds()(order)
        quiet = bool(here.get("json"))
        say = (
            (lambda text: print(text, file=sys.stderr if quiet else sys.stdout, flush=True))
            if first
            else (lambda text: None)
        )
        run = execution.drive(
            order,
            world,
            folder,
            resume=resume,
            say=say,
            track=lambda run: tracking.Tracked(run, trackers, here.get("project", "assay")),
        )
    if first:
        print(
            json.dumps(execution.summary(run), ensure_ascii=False) if here.get("json") else folder
        )
    return 0


def asked_for(argv: list[str]) -> tuple[Entry, dict[str, Any], dict[str, Any]]:
    """The recipe, its values by flag name, and this command's own flags; a record that is resumed
    or replayed is read.
    """
    words, given = flags.split(
        argv, [name for name, f in HERE.items() if f.switch] + ["stop-on-nonfinite"]
    )
    mine = [g for g in given if g[0] in HERE]
    here = flags.parse(mine, HERE, "assay run")
    rest = [g for g in given if g[0] not in HERE]
    if len(words) > 1:
        raise InputError(
            f"assay run takes one recipe, and found {', '.join(words)}; assay sweep takes several"
        )
    if here.get("resume") and "out" not in here:
        raise InputError("--resume needs --out, the folder of the run to go on with")
    if here.get("resume") and "from" in here:
        raise InputError(
            "--resume goes on with a run and --from starts one like it: give one of the two"
        )
    source = here.get("from") or (
        here["out"] if here.get("resume") and (Path(here["out"]) / "run.json").exists() else None
    )
    if source is None:
        if not words:
            raise InputError(
                "assay run needs a recipe"
                + ("" if not here.get("resume") else f": {here['out']} holds no run yet")
                + "; assay list has them"
            )
        entry = catalogue.find(words[0])
        world = among(rest, "world")
        return (
            entry,
            flags.parse(
                rest,
                execution.known(entry, world, among(rest, "fit")),
                f"{entry.name} in world {world}",
            ),
            here,
        )
    about = Run.open(source).about
    entry = catalogue.find(words[0] if words else about.get("path") or about["recipe"])
    if entry.name != about["recipe"]:
        raise InputError(f"{source} is a run of {about['recipe']}, and {entry.name} was asked for")
    before = execution.recorded(about, entry, source)
    there = among(rest, "world", before["world"]), among(rest, "fit", before.get("fit", ""))
    now = flags.parse(rest, execution.known(entry, *there), entry.name)
    if here.get("resume"):
        unchanged(before, now, source)
        inputs.unchanged(about, source)
    elif now.get("world", before["world"]) != before["world"]:
        before = {k: v for k, v in before.items() if not k.startswith("world")}
    if now.get("fit", before.get("fit")) != before.get("fit"):
        before = {k: v for k, v in before.items() if not k.startswith("fit")}
    return entry, {**before, **now}, here


def among(given: list[tuple[str, str | None]], name: str, default: str | None = None) -> str:
    """The world's name or the fit's, which has to be known before its flags are."""
    return next(
        (v for k, v in given if k == name and v),
        str(execution.RUN[name].default if default is None else default),
    )


def unchanged(before: Mapping[str, Any], now: Mapping[str, Any], source: str) -> None:
    """A run goes on as it began. Raises InputError for the first argument that differs."""
    for name, v in now.items():
        if name not in execution.FREE and before.get(name) != v:
            raise InputError(
                f"{source} was begun with --{flags.typed(name)} {before.get(name)!r} and this "
                f"asks for {v!r}: leave it out to go on, or start another run with --from {source}"
            )


def must_be_free(folder: Path) -> None:
    """Before the world is built, so that nobody waits for a refusal. Raises InputError where
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
