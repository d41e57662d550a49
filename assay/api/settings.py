"""Every flag of a recipe in a world, read from the files' text, so that help and refusals need no
torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from assay.api import flags, loop_defaults
from assay.api.flags import Flag
from assay.api.suggestions import FIELD_NAMES
from assay.errors import InputError
from assay.registry import catalogue
from assay.registry.catalogue import HOME, Entry
from assay.registry.parameters import from_text

SHORT = {"num_generations": ("-n",), "learning_rate": ("--lr",)}
BARE = {"policy": "model"}  # a world's argument → its name without the prefix, where it is another
RESERVED = (
    "out",
    "resume",
    "from",
    "json",
    "over",
    "help",
    "config",
    "print_config",
    "quiet",
    "verbose",
)
MODEL = (
    *("model", "policy", "dtype", "device", "lora", "peft", "bits", "checkpointing", "chat"),
    *("torch_compile", "fsdp", "fsdp_gather", "trust_remote_code", "others"),
    *("turns", "prices", "reply_tokens"),
)
DATA = (
    "prompts",
    "pairs",
    "demos",
    "preference",
    "preference_model",
    "columns",
    "label_map",
    "split",
    "drop",
    "templated",
    "held_out",
    "max_prompt",
)
SAMPLING = (
    *("num_generations", "max_tokens", "min_tokens", "temperature", "top_k", "top_p", "stop"),
    *("sampler", "sampler_model", "sampler_at_once", "sampler_correction", "sampler_clip_min"),
    *("sampler_clip_max", "sampler_tolerance", "sampler_folder"),
)
REWARDS = ("rewards", "gold", "truncated", "fit", "reward_timeout")


@dataclass(frozen=True)
class Place:
    """Where and with whom a recipe runs.

    Attributes:
        world: A world that `assay list` names, or the path of a Python file with a function
            `world`.
        fit: A paper that fits the world's reward models anew; its constants are --fit.NAME.
        device: Where tensors live: auto, cpu, cuda or cuda:N.
        watch: Who labels pairs, so that the run stops once it has turned: gold, FILE.py:function,
            csv, page or http://…
    """

    world: str = "grammar"
    fit: str = ""
    device: str = "auto"
    watch: str = ""


def group(name: str) -> str:
    """The heading of a flag in help."""
    prefix, _, last = name.rpartition(".")
    if prefix == "watch" or name == "watch":
        return "Watch"
    if prefix == "fit" or last in REWARDS:
        return "Rewards"
    found = next(
        (
            g
            for g, names in (("Model", MODEL), ("Data", DATA), ("Sampling", SAMPLING))
            if last in names
        ),
        None,
    )
    return found or ("World" if prefix == "world" or name == "world" else "Run")


def _grouped(found: Mapping[str, Flag], otherwise: str = "") -> dict[str, Flag]:
    """The flags under their headings; `otherwise` is the heading of those that have none of their
    own.
    """
    return {
        k: replace(
            f,
            group=otherwise if otherwise and group(k) == "Run" else group(k),
            also=(*f.also, *SHORT.get(k, ())),
        )
        for k, f in found.items()
    }


@cache
def loop() -> dict[str, Flag]:
    """The Loop's fields. Their defaults are the recipe's own, and the world's before those."""
    return _grouped(flags.of(_text(HOME / "core" / "loop.py", "Loop"), without=()), "Optimisation")


@cache
def run() -> dict[str, Flag]:
    """What may differ between two runs of one recipe and changes no policy, and where it runs."""
    place = _text(Path(__file__), "Place")
    watch = _text(HOME / "watch" / "config.py", "WatchConfig")
    measured = _text(HOME / "evaluation" / "config.py", "MeasureConfig")
    return _grouped(
        {
            **flags.of(measured, without=()),
            **flags.of(place),
            **flags.of(watch, prefix="watch.", without=("by",)),
        }
    )


def _text(path: Path, name: str, without: tuple[str, ...] = ()) -> Mapping[str, Any]:
    found = from_text(path, name, without=without)
    if found is None:
        raise LookupError(f"the parameters of {name} in {path} cannot be read from its text")
    return found


def of_file(
    path: Path,
    name: str,
    load: Callable[[], Any],
    prefix: str = "",
    without: tuple[str, ...] = ("loop",),
) -> dict[str, Flag]:
    """The flags of a function in a file.

    They are read from its text, or from the function itself where the text is not enough.

    Args:
        path: The Python file.
        name: The function's name in it.
        load: Imports the function.
        prefix: What the flags' names begin with, as in "world.".
        without: Parameters that are no flags.

    Returns:
        Flags by name.
    """
    return flags.of(
        from_text(path, name, without=without) or load(), prefix=prefix, without=without
    )


def function_of(entry: Entry) -> Callable[..., Any]:
    """The recipe, fit or study of a file, or the function that was passed."""
    if entry.function is not None:
        return entry.function
    function: Callable[..., Any] = getattr(catalogue.load(entry), entry.verb)
    return function


def known(entry: Entry, world: str, fit: str = "") -> dict[str, Flag]:
    """Every flag of a recipe in a world.

    Args:
        entry: The recipe, fit or study.
        world: A world's name or path.
        fit: The paper that fits its reward models anew, if any.

    Returns:
        The recipe's constants, the Loop's fields and the run's own flags; with prefixes those of
        the world and of the fit.

    Raises:
        InputError: A constant of the recipe has the name of a flag that every run has.
    """
    found = (
        of_file(entry.path, entry.verb, lambda: function_of(entry))
        if entry.function is None
        else flags.of(entry.function)
    )
    own = {k: replace(f, group="Recipe") for k, f in found.items()}
    everywhere = {**run(), **loop_of(world, loop_defaults.of_recipe(entry))}
    taken = sorted(own.keys() & (everywhere.keys() | set(RESERVED)))
    if taken:
        raise InputError(
            f"{entry.path} has a constant named {taken[0]}, which is a flag of every run; give "
            "it another name"
        )
    theirs = bare(world_flags(world), {*own, *everywhere})
    return {**own, **everywhere, **theirs, **(fit_flags(fit) if fit else {})}


def world_flags(world: str) -> dict[str, Flag]:
    """The arguments of a world."""
    path = catalogue.find_world(world)
    return _grouped(
        of_file(path, "world", lambda: catalogue.load_world(world), "world.", ("loop", "device"))
    )


def bare(found: Mapping[str, Flag], taken: Collection[str]) -> dict[str, Flag]:
    """A world's arguments, also by their names without the prefix where those are free.

    Args:
        found: The arguments.
        taken: Names that other flags have.
    """

    def one(flag: Flag) -> Flag:
        last = flag.name.removeprefix("world.")
        name = BARE.get(last, last)
        if name in taken or name in RESERVED:
            return flag
        return replace(flag, also=(f"--{name.replace('_', '-')}",))

    return {k: one(f) for k, f in found.items()}


def fit_flags(fit: str) -> dict[str, Flag]:
    """The constants of a paper that fits reward models, and its Loop."""
    entry = catalogue.find(fit)
    steps = {
        f"fit.{k}": replace(_of_the_world(f), name=f"fit.{k}", also=()) for k, f in loop().items()
    }
    return _grouped(
        {**steps, **of_file(entry.path, entry.verb, lambda: function_of(entry), "fit.")}
    )


def loop_of(world: str, own: Mapping[str, Any]) -> dict[str, Flag]:
    """The Loop's fields with the defaults of a run in a world.

    Args:
        world: The world's name or path.
        own: The fields that the recipe insists on.

    Returns:
        Flags by name. Where the world's Loop depends on its arguments, help says so.
    """
    theirs = loop_defaults.of_world(catalogue.find_world(world))

    def one(name: str, flag: Flag) -> Flag:
        if name in own or theirs is not None:
            return replace(flag, default={**(theirs or {}), **own}.get(name, flag.default))
        return _of_the_world(flag)

    return {k: one(k, f) for k, f in loop().items()}


def _of_the_world(flag: Flag) -> Flag:
    """A field of the Loop whose default the world decides."""
    return replace(flag, default=None, help=f"{flag.help} [default: the world's]".strip())


def implied(given: Mapping[str, Any]) -> str:
    """The world that the flags imply: one of a model is world hub; "" where they imply none."""
    names = {"model", "world.model", "world.policy"}
    return "hub" if names & set(given) else ""


def placed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the world that they imply, where none is named."""
    world = implied(given)
    return {**({"world": world} if world else {}), **given}


def elsewhere(name: str) -> str:
    """Where a flag that is not here would be: a world's argument, as an addition to a sentence; ""
    where nowhere.
    """
    last = name.removeprefix("world.")
    there = {
        world: from_text(catalogue.find_world(world), "world", without=("loop",)) or {}
        for world in catalogue.worlds()
    }
    for word in (last, *(k.removeprefix("world.") for k in FIELD_NAMES.get(last, ()))):
        if worlds := [world for world, found in there.items() if word in found]:
            typed = BARE.get(word, word).replace("_", "-")
            return f"; --{typed} is an argument of world {' and of world '.join(worlds)}"
    return ""
