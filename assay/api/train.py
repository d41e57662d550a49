"""`assay.train`: a recipe, your model, your rewards, gold apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.api import begun, execution, inputs, orders
from assay.api.arguments import by_flag, in_python, pythonic
from assay.api.needs import check_needs
from assay.api.opened import open_run
from assay.api.progress import hushed, shown
from assay.api.recipes import recipe_entry
from assay.api.resuming import gone_on_with, must_be_free
from assay.api.run import Run
from assay.engine.quiet import quiet_libraries
from assay.errors import Collapsed, InputError, NotFinite
from assay.evaluation.lines import reading_line
from assay.evaluation.tidy import tidied
from assay.records import own_code
from assay.records.runs import Run as Record
from assay.records.schema import Reading
from assay.records.tracking import Tracked, possible
from assay.registry.entry import Entry
from assay.safe_text import visible
from assay.watch.config import Watch, WatchConfig
from assay.watch.labelers.choose import check_labeler

OBJECTS = (
    "world",
    "model",
    "tokenizer",
    "prompts",
    "pairs",
    "demos",
    "rewards",
    "preference",
    "gold",
)


def train(
    recipe: str | Path | Callable[..., Any],
    *,
    model: Any = None,
    tokenizer: Any = None,
    prompts: Any = None,
    pairs: Any = None,
    demos: Any = None,
    rewards: Any = None,
    preference: Any = None,
    gold: Any = None,
    world: str = "",
    watch: Any = None,
    out: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    stream: bool = False,
    track: str | Sequence[str] = (),
    project: str = "assay",
    quiet: bool = False,
    **arguments: Any,
) -> Run:
    """Optimise a policy against rewards, and measure its gold apart.

    The arguments are the command line's flags, by the same names: `assay run RECIPE --help` and
    `assay show RECIPE` list them all. The most used ones: `max_steps`, `batch_size` (prompts a
    step), `num_generations` (completions a prompt), `learning_rate`, `seed`; `max_tokens`,
    `temperature`, `held_out` (prompts that are only measured on), `lora` (rank), `dtype`, `device`;
    `eval_steps`, `eval_generations`; and the recipe's own constants, such as `beta`. A flag with a
    dot, such as `--world.seed`, is `world__seed`.

    Args:
        recipe: A recipe's name, the path of a Python file with one, or a generator function
            `recipe(task, *, loop=Loop(), …)` that yields an `assay.core.Step` a step.
        model: A transformers or peft model, which is left as it is, a folder, or a model id. It is
            what training starts from and what KL is measured from. Not given: a world of assay's.
        tokenizer: The model's tokenizer; None for the one that is saved beside it.
        prompts: Texts, conversations, rows, a `datasets.Dataset`, a DataFrame, a file or a hub
            name. Further columns go to the reward functions.
        pairs: Preference pairs of the same kinds, for recipes that learn from pairs.
        demos: Demonstrations of the same kinds, for recipes that learn from them.
        rewards: What is optimised: a function (prompts, completions, **columns) → numbers, a
            `RewardEnsemble`, a sequence classifier, a folder, a model id, FILE.py:name or a URL; or
            a list or a dict of these. Of several (an ensemble's members count) the proxy is the
            mean; `aggregate` and `member` choose otherwise.
        preference: What compares two completions, for Nash and self-play methods: a function
            (prompts, first, second, **columns) → the chance that the first is better, what
            `fit_preference` returned, FILE.py:name, a folder of `assay fit --preference-dim`, or
            the address of an LLM judge with `preference_model`.
        gold: What is measured and never optimised, of the same kinds.
        world: A world of assay's, for experiments: grammar, table or sums.
        watch: An `assay.Watch`, which buys labels and stops the run once it has turned; or who
            labels, as text.
        out: The run's folder. None keeps everything in memory.
        resume: Go on with the run in `out`, here or begun by the command line.
        accept_changes: With `resume`, go on though files that the run began with have changed. Its
            record says which.
        stream: Return at once; iterating over the run drives it and yields its readings.
        track: tensorboard, trackio or wandb, or several, to send readings to.
        project: The project's name at the trackers.
        quiet: Show no progress and print nothing.
        arguments: Everything else, by the name of its flag.

    Returns:
        The run: `readings`, `best`, `policy`, `report`.

    Raises:
        InputError: An argument is unknown, missing or impossible, or a file has faults.
        Collapsed: Training has died, with `on_collapse="stop"`. It and the next two are in
            `assay.errors`; its attribute `run` is the run as far as it came.
        NotFinite: A number is NaN or infinite, with `stop_on_nonfinite`.
        Waiting: People have yet to label pairs; go on with `resume=True`.
        KeyboardInterrupt: It was interrupted; with `out` it can be gone on with.

    Example:
        >>> import assay
        >>> def brevity(prompts, completions, **columns):
        ...     return [-len(text) for text in completions]
        >>> model = getfixture("tiny_model")  # a folder, a model id, or an open model
        >>> run = assay.train("leave_one_out", model=model, prompts=["Hi", "Hello", "Hey"],
        ...                   rewards=brevity, held_out=1, max_tokens=4, max_steps=2, quiet=True)
        >>> run.state, len(run.policy.generate(["Hi"]))
        ('done', 1)
    """
    given = {
        "world": world,
        "model": model,
        "tokenizer": tokenizer,
        "prompts": prompts,
        "pairs": pairs,
        "demos": demos,
        "rewards": rewards,
        "preference": preference,
        "gold": gold,
        "watch": watch,
    }
    begin = checked(
        recipe, out=out, resume=resume, accept_changes=accept_changes, track=track,
        project=project, quiet=quiet, **given, **arguments,
    )  # fmt: skip
    run = begin(execution.Worlds())
    if not stream:
        try:
            for _ in run:
                pass
        except (Collapsed, NotFinite) as why:
            why.run = run  # in memory nothing else would have its readings
            raise
    return run


def checked(
    recipe: Any,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    track: str | Sequence[str] = (),
    project: str = "assay",
    quiet: bool = False,
    watch: Any = None,
    swept: execution.Worlds | None = None,
    **given: Any,
) -> Callable[[execution.Worlds], Run]:
    """Check what is asked for before anything is built, see `train`.

    Args:
        recipe: See `train`; so are the others.
        out: See `train`.
        resume: See `train`.
        accept_changes: See `train`.
        track: See `train`.
        project: See `train`.
        quiet: See `train`.
        watch: See `train`.
        swept: The worlds of a sweep, for which what is left out is at its default, and not as the
            run has it that is there.
        given: The rest of `train`'s arguments.

    Returns:
        A function that takes the worlds which several runs share, and begins the run; iterating
        over the run drives it.

    Raises:
        InputError: See `train`.
    """
    folder = _folder(out)
    objects = {name: given.pop(name, None) for name in OBJECTS}
    objects["world"] = objects["world"] or ""
    with in_python():
        trackers = possible([track] if isinstance(track, str) else list(track))
        if trackers and folder is None:
            raise InputError("track needs a run's folder, which says what was sent; pass out")
        watching = _watched(watch)
        own_code.typed("" if watching is None else watching.by)
        order, again = _ordered(recipe, folder, resume, accept_changes, objects, given, swept)
        if again is not None and swept is not None:
            begun.check_watch(watching, again.folder)
        check_needs(order)
        if watching is not None:
            check_labeler(watching)
            order.watch = watching

    def begin(worlds: execution.Worlds) -> Run:
        if again is not None and again.about["state"] == "done":
            return open_run(tidied(again.folder).folder)
        display = hushed() if quiet else shown()
        with in_python(), quiet_libraries(models=True), display:
            world = worlds(order, None if again is None else again.folder)
            drive = execution.Drive(order, world, folder, resume=again is not None)
        return Run(drive.run, drive=drive, readings=_driven(drive, trackers, project, quiet))

    return begin


def _folder(out: Any) -> Path | None:
    """A run's folder; None for a run in memory."""
    if out is None or isinstance(out, (str, Path)):
        return None if out is None else Path(out)
    raise InputError(f"out is {out!r}; pass a folder, or None to keep the run in memory")


def _ordered(
    recipe: Any,
    folder: Path | None,
    resume: bool,
    accept: bool,
    objects: Mapping[str, Any],
    arguments: Mapping[str, Any],
    swept: execution.Worlds | None,
) -> tuple[orders.Order, Record | None]:
    """What is to be run, and the record that it goes on with."""
    entry: Entry = recipe_entry(recipe)
    if resume and folder is None:
        raise InputError("resume goes on with the run in out; pass out")
    if folder is None or not resume:
        given = by_flag(entry, arguments, **objects)
        if folder is not None:
            must_be_free(folder)
        return orders.order(entry, given), None
    if not (folder / "run.json").exists():
        raise InputError(f"{folder} holds no run to go on with; leave resume out to begin one")
    record = Record.open(folder)
    if entry.name != record.about["recipe"]:
        raise InputError(f"{folder} is a run of {record.about['recipe']}, not of {entry.name}")
    own_code.typed(recipe, objects, arguments)
    before = orders.recorded(record.about, entry, str(folder))
    where = "" if objects["model"] is not None or objects["world"] else before["world"]
    now = by_flag(entry, arguments, **{**objects, "world": objects["world"] or where})
    goes_on = gone_on_with(before, now, str(folder))
    if swept is not None:
        asked = orders.order(entry, {k: goes_on.get(k, v) for k, v in now.items()})
        begun.check_left_out(asked, now, before, folder)
        begun.check_loop(asked, folder, swept)
    inputs.unchanged(record.about, str(folder), accept=accept)
    return orders.order(entry, goes_on), record


def _watched(watch: Any) -> WatchConfig | None:
    """A watch from Python.

    Raises:
        InputError: It is something else.
    """
    if watch is None or isinstance(watch, WatchConfig):
        return watch
    if isinstance(watch, str) or callable(watch):
        return Watch(labeler=watch)
    raise InputError(
        f"watch is a {type(watch).__name__}; pass assay.Watch(labeler=…, budget=…), or who labels"
    )


def _driven(
    drive: execution.Drive, trackers: tuple[str, ...], project: str, quiet: bool
) -> Iterator[Reading]:
    """The readings as they come, shown on the way."""

    def track(run: Record) -> Tracked:
        return Tracked(run, trackers, project)

    def say(text: str) -> None:
        if not quiet:
            print(visible(pythonic(text)))

    folder = drive.folder
    try:
        display = hushed() if quiet else shown()
        with in_python(), quiet_libraries(models=True), display:
            for reading in drive.readings(tell=say, track=track):
                say(reading_line(reading))
                yield reading
    except KeyboardInterrupt as why:
        if folder is None:
            raise type(why)("the run was in memory (out=None); nothing is kept") from None
        again = f"the same call and resume=True go on with {str(folder)!r}"
        raise type(why)(f"{again}; so does assay run --resume --out {folder}") from None
