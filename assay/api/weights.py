"""Digests of what is open in Python: a run goes on with the weights that it began with, and tells
of functions that were edited.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import torch

from assay.core import World
from assay.errors import InputError
from assay.models.live import LiveModel
from assay.records.own_inputs import SOURCE, WEIGHTS
from assay.records.provenance import provenance
from assay.records.schema import RunRecord
from assay.registry.live import PYTHON, opened

log = logging.getLogger("assay")
_BLOCK = 1 << 24  # bytes of a weight that are read at once
_ADAPTER = {"lora_A", "lora_B", "lora_magnitude_vector", "lora_embedding_A", "lora_embedding_B"}


def live_weights(asked: Any, world: World) -> dict[str, str]:
    """The digest of a live model's weights, for the record; {} where the model is named."""
    name = asked.world_arguments.get("policy")
    if not isinstance(opened(name), LiveModel):
        return {}
    return {WEIGHTS + str(name): weights_digest(_model_of(world))}


def check_weights(about: Mapping[str, Any], world: World, where: str) -> None:
    """Check that a run goes on with the weights that it began with.

    Args:
        about: The run's record.
        world: The world that was built for it.
        where: The run, for the message.

    Raises:
        InputError: The record holds the digest of a live model, and the model is another one.
    """
    for key, digest in (about.get("inputs") or {}).items():
        if key.startswith(WEIGHTS) and weights_digest(_model_of(world)) != digest:
            raise InputError(
                f"{where} began with an open model ('{key.removeprefix(WEIGHTS)}') whose weights "
                "are not those of this one; pass the same model: assay.train(…, model=model, "
                "out=…, resume=True)"
            )


def check_world(record: RunRecord, world: World, where: str) -> None:
    """Check that a run goes on in the world that it began in.

    Args:
        record: The run's record.
        world: The world that was built for it.
        where: The run, for the message.

    Raises:
        InputError: The world's trained parts are others, as other versions or another number of
            threads make them.
    """
    if record.world_digest in (None, world.digest):
        return
    then = {k: str(v) for k, v in record.versions.items()}
    then["threads"] = str(record.run.get("threads"))
    here = {**provenance()["versions"], "threads": str(torch.get_num_threads())}
    differs = [f"{k} {v} then, {here.get(k)} now" for k, v in then.items() if here.get(k) != v]
    why = f" ({', '.join(differs)})" if differs else ""
    raise InputError(
        f"{where} began in another world of the name {world.name}{why}: go on with what it began "
        f"with, or start another run with --from {where}"
    )


def live_sources(asked: Any) -> dict[str, str]:
    """Digests of the sources of functions that only Python has, for the record.

    Args:
        asked: The order of a run.
    """
    named = [v for values in asked.world_arguments.values() for v in _each(values)]
    found = {SOURCE + str(v): _source(opened(v)) for v in named if str(v).startswith(PYTHON)}
    return {name: digest for name, digest in found.items() if digest}


def say_sources(about: Mapping[str, Any], asked: Any, where: str) -> None:
    """Warn of functions of Python that are not those that a run began with.

    Args:
        about: The run's record.
        asked: The order that goes on.
        where: The run, for the message.
    """
    before = about.get("inputs") or {}
    for name, digest in live_sources(asked).items():
        if before.get(name, digest) != digest:
            log.warning(
                "the function %s changed since %s began: it goes on with what it is now",
                name.removeprefix(SOURCE + PYTHON),
                where,
            )


def _each(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (list, tuple)) else (values,)


def _source(function: Any) -> str:
    """SHA-256 of a function's source; "" where it has none, as one typed at the prompt."""
    try:
        return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()
    except (TypeError, OSError):
        return ""


def _model_of(world: World) -> Any:
    """The transformers model behind a world's reference."""
    backbone: Any = getattr(world.task.reference, "backbone", None)
    return getattr(getattr(backbone, "computes_with", backbone), "model", None)


def weights_digest(model: Any) -> str:
    """SHA-256 of the names, dtypes, shapes and all values of a model's own weights."""
    said = hashlib.sha256()
    with torch.no_grad():
        for name, weight in sorted(model.state_dict().items()):
            if _ADAPTER & set(name.split(".")) or not isinstance(weight, torch.Tensor):
                continue
            said.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            flat = weight.detach().contiguous().reshape(-1).view(torch.uint8)
            for block in flat.split(_BLOCK):
                said.update(block.cpu().numpy())
    return said.hexdigest()
