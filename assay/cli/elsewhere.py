"""Where a flag that a verb does not have would be: with a model, or with another verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from assay.api import flags, settings
from assay.api.flags import Flag
from assay.api.suggestions import meant
from assay.registry.docstrings import clause

OF_A_SWEEP = ("over", "seeds", "ray", "num_cpus", "num_gpus", "memory", "max_retries")


def of_a_sweep(name: str, otherwise: Callable[[str], str]) -> str:
    """Where a flag that is not here would be: with `assay sweep`, if it is one of that verb."""
    typed = f"--{name.replace('_', '-')}"
    if name in OF_A_SWEEP:
        return f"{typed} is a flag of assay sweep, which takes the same flags and --out, a folder"
    return otherwise(name)


def of_a_file(flag: Flag, text: str) -> str:
    """What was meant by the name of a file where an embedded world takes a number."""
    name = flag.name.removeprefix("world.")
    a_file = name in settings.DATA and not text.lstrip("-").isdigit()
    return "; a file of yours goes with --model" if a_file else ""


def with_a_model(name: str, known: Mapping[str, Flag]) -> str:
    """Where a flag that is not here would be: most likely with --model, whose world has it.

    Args:
        name: The flag in Python's spelling.
        known: The flags of the embedded world that is meant where no --model is given.
    """
    theirs = settings.bare(settings.world_flags("hub"), known)
    named = {f.shortest[2:].replace("-", "_"): f for f in theirs.values()}
    model = theirs["world.policy"]
    if name in named:
        return f"{named[name].shortest} needs {model.shortest}: {clause(model.help)}"
    likely = meant(name, {**flags.by_every_name(known), **named})
    if likely and likely[0] in named:
        return f"; did you mean {named[likely[0]].shortest}?"
    return settings.elsewhere(name)
