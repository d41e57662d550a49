"""A policy's weights as files that another engine loads."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from assay.engine.leftovers import FOLDER, forget, fresh_path
from assay.engine.os_errors import writing_to
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.models.backbones.adapters import Adapted

NAME = "assay-weights"
MEMORY = Path("/dev/shm")  # a disk in memory, where there is one
ROOM = 3  # sets of weights that have to fit there: the old one, the new one, and some air


class WeightFiles:
    """Writes each set of weights into a folder of its own, and keeps the last one.

    All are gone when the process ends; what a killed one left is removed by the next.

    Args:
        folder: One that the engine sees too; "" for one of this machine, in memory where three
            sets of weights fit there.
    """

    def __init__(self, folder: str = ""):
        self.given = folder
        self._home: Path | None = None
        self._last: Path | None = None

    def write(self, backbone: Any, version: str) -> Path:
        """Write a backbone's weights, whole or its adapter alone.

        Args:
            backbone: One of transformers' models.
            version: Name of the folder.

        Returns:
            The folder.

        Raises:
            InputError: It is no model of transformers.
            NotWritten: The disk is full, or the folder cannot be written.
        """
        folder = self._place(backbone) / version
        with writing_to(folder), torch.no_grad(), quiet_libraries():
            folder.mkdir()
            if isinstance(backbone, Adapted):
                backbone.save_adapter(folder)
            else:
                computing(backbone).save_pretrained(folder)
        return folder

    def keep(self, folder: Path | None) -> None:
        """Remove the set before this one, which the engine does not need any more."""
        if self._last is not None:
            shutil.rmtree(self._last, ignore_errors=True)
        self._last = folder

    def _place(self, backbone: Any) -> Path:
        if self._home is None:
            if self.given and not Path(self.given).is_dir():
                raise InputError(
                    f"--sampler-folder is '{self.given}', and there is no such folder; name one "
                    "that the engine sees too"
                )
            base = Path(self.given or _of_this_machine(backbone)).absolute() / NAME
            forget(base)
            ends = ExitStack()
            home = ends.enter_context(fresh_path(base, FOLDER))
            with writing_to(home):
                home.mkdir(mode=0o700)
            weakref.finalize(self, _removed, home, ends)
            self._home = home
        return self._home


def _of_this_machine(backbone: Any) -> Path:
    size = sum(p.numel() * p.element_size() for p in backbone.parameters())
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM * size
    return MEMORY if roomy else Path(tempfile.gettempdir())


def _removed(home: Path, ends: ExitStack) -> None:
    shutil.rmtree(home, ignore_errors=True)
    ends.close()


def computing(backbone: Any) -> Any:
    """The transformers model that a backbone computes with, as its weights are now.

    Raises:
        InputError: It is no model of transformers.
    """
    model = getattr(getattr(backbone, "computes_with", backbone), "model", None)
    if not hasattr(model, "save_pretrained"):
        raise InputError(
            f"--sampler generates with models of transformers, and a {type(backbone).__name__} is "
            "none; leave --sampler out"
        )
    return model


def rank_of(backbone: Any) -> int:
    """The rank of a backbone's adapters; 0 where whole weights are trained.

    Raises:
        InputError: vLLM takes no adapters of this kind.
    """
    if not isinstance(backbone, Adapted):
        return 0
    config = backbone.config
    wrong = [
        said
        for said, there in (
            (f"type {config.peft_type}", getattr(config.peft_type, "value", "") != "LORA"),
            ("use_dora", getattr(config, "use_dora", False)),
            ("modules_to_save", bool(getattr(config, "modules_to_save", None))),
            ("alpha_pattern", bool(getattr(config, "alpha_pattern", None))),
            ("rank_pattern", bool(getattr(config, "rank_pattern", None))),
        )
        if there
    ]
    if wrong:
        raise InputError(
            f"the adapter has {wrong[0]}, which vLLM does not take; use --lora, or leave --sampler "
            "out"
        )
    return int(config.r)
