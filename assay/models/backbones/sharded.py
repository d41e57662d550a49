"""A transformers model that no process holds whole: torch's `fully_shard`, a layer at a time.

Each process keeps its part of every weight, of its gradient and of Adam's moments. A layer is
gathered when it is computed and freed after it; what is in no layer (embedding, last norm, head) is
gathered for as long as a pass and its backward pass take. The first process reads the model, and
the others get their parts a layer at a time.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from assay.engine import parallel, shards
from assay.errors import InputError
from assay.models.backbones.body import Body
from assay.models.backbones.in_step import Division, idle
from assay.models.backbones.layer_progress import layers_of
from assay.models.backbones.pretrained import Pretrained

log = logging.getLogger("assay")


def shard(
    model: nn.Module, *, checkpointing: bool, gather: str, device: torch.device
) -> Pretrained:
    """Divide a model over the processes, which have to call this together.

    Args:
        model: A transformers causal model with its weights in the first process, and without them
            (on the device "meta") in the others. Its weights are moved out of it.
        checkpointing: See Pretrained.
        gather: How weights are gathered for generation and scoring: "model" (once), "layer", or
            "auto" for once where it fits.
        device: Where this process computes.

    Returns:
        The model as a backbone.

    Raises:
        InputError: The model has no layers that are known.
    """
    body = Pretrained(model, checkpointing=checkpointing, checked=False)
    _divide(body, _without_weights(model), device, gather, read=True)
    body.same_as_its_own()
    log.debug("plain: %s", body.plain_because)  # found by passes, which all make here
    body.reshard()  # type: ignore[operator]
    return body


def shard_classifier(model: nn.Module, *, gather: str, device: torch.device) -> None:
    """Divide a classifier over the processes, which have to call this together.

    Its layers and its own forward pass are then computed by `in_step.body_of(model)`.

    Args:
        model: A transformers model, see `shard`; it is not trained.
        gather: See `shard`.
        device: See `shard`.

    Raises:
        InputError: The model has no layers that are known.
    """
    body = Body(model.requires_grad_(False))
    _divide(body, None, device, gather, read=True)
    # in a tuple: it is no submodule, for it has the model as its own
    model.__dict__["divided_as"] = (body,)


def twin(body: Pretrained) -> Pretrained:
    """Return a trainable copy with shards of its own, in float32 at least.

    Args:
        body: A divided body, in which no pass is under way.
    """
    division: Any = body.division
    body.reshard()  # type: ignore[operator]
    own = copy.deepcopy(division.skeleton).requires_grad_(True)
    other = Pretrained(own, checkpointing=body.checkpointing, checked=False)
    other.rounded = body.computing_dtype if body.half_precision else None
    _divide(other, division.skeleton, body.like.device, division.gather, read=False)
    with torch.no_grad():
        both = zip(other.named_parameters(), body.named_parameters(), strict=True)
        for (_, mine), (_, theirs) in both:
            shards.local(mine).copy_(shards.local(theirs))
    for to, of in zip(other.buffers(), body.buffers(), strict=True):
        to.copy_(of)
    other.__dict__["plain_because"] = body.plain_because
    return other


def rounded_state(state: Mapping[str, Tensor], body: Pretrained) -> dict[str, Tensor]:
    """Return the weights that a divided body computes with, by the same names.

    Args:
        state: Its state.
        body: The body.
    """
    done: dict[int, Tensor] = {}  # tied weights stay one
    for t in state.values():
        if t.is_floating_point() and body.rounded is not None:
            done.setdefault(id(t), t.to(body.rounded))
    return {k: done.get(id(t), t) for k, t in state.items()}


def _divide(
    body: Body, skeleton: nn.Module | None, device: torch.device, gather: str, *, read: bool
) -> None:
    """Give a body shards: of the weights of the first process, or empty ones."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    layers = layers_of(body.model)
    if not layers:
        raise InputError(
            f"a {body.model.config.model_type} model has no layers that could be divided over "
            "processes; leave out --fsdp"
        )
    _check_apart(body, layers)
    mesh = init_device_mesh(device.type, (parallel.world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=body.rounded,
        reduce_dtype=None if body.rounded is None else torch.float32,
        cast_forward_inputs=False,
    )
    wide = None if body.rounded is None else torch.float32
    held: dict[int, tuple[Tensor, Tensor]] = {}
    for unit in (*layers, body):
        _fill(unit, device, held, wide, read=read)
        if unit is not body:
            held.clear()
        fully_shard(unit, mesh=mesh, mp_policy=policy, reshard_after_forward=unit is not body)
        unit.set_gradient_divide_factor(1.0)  # a loss's weights are of the whole batch
        unit.set_force_sum_reduction_for_comms(True)
    sharing = 1 if device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", mesh.size()))
    body.division = Division(skeleton, [body, *layers], gather, sharing)
    register_fsdp_forward_method(body, "layers")
    register_fsdp_forward_method(body, "whole_model")
    body.register_load_state_dict_pre_hook(_take_own)
    shards.begin()
    idle(body)  # the first pass settles which unit is the outermost
    body.reshard()  # type: ignore[operator]


def _check_apart(body: Body, layers: list[Any]) -> None:
    """Raise InputError where one weight is in two units, which are gathered at different times."""
    where: dict[int, int] = {}
    inside = {id(m) for layer in layers for m in layer.modules()}
    ends = [m for m in body.modules() if id(m) not in inside]
    for i, unit in enumerate((ends, *(list(layer.modules()) for layer in layers))):
        for p in (p for m in unit for p in m._parameters.values() if p is not None):
            if where.setdefault(id(p), i) != i:
                raise InputError(
                    f"a {body.model.config.model_type} model shares one weight between layers, "
                    "which cannot be divided over processes; leave out --fsdp"
                )


def _fill(
    unit: nn.Module,
    device: torch.device,
    held: dict[int, tuple[Tensor, Tensor]],
    wide: torch.dtype | None,
    *,
    read: bool,
) -> None:
    """Give a unit's weights and buffers memory on a device, and the first process's values.

    What is divided already is left alone. Weights that are one stay one.
    """
    for module in unit.modules():
        for name, t in (*module._parameters.items(), *module._buffers.items()):
            if t is None or shards.is_shard(t):
                continue
            if id(t) not in held:
                dtype = wide if wide is not None and isinstance(t, nn.Parameter) else t.dtype
                new = (
                    torch.empty_like(t, device=device, dtype=dtype)
                    if t.is_meta
                    else t.detach().to(device, dtype)
                )
                if read and parallel.world_size() > 1:
                    dist.broadcast(new.view(torch.uint8) if new.dtype == torch.bool else new, 0)
                if isinstance(t, nn.Parameter):
                    new = nn.Parameter(new, requires_grad=t.requires_grad)
                held[id(t)] = t, new
            own: dict[str, Any] = (
                module._parameters if name in module._parameters else module._buffers
            )
            own[name] = held[id(t)][1]


def _without_weights(model: nn.Module) -> nn.Module:
    """Return a copy of a model whose tensors are on the device "meta"."""
    known = {
        id(t): nn.Parameter(t.detach().to("meta"), requires_grad=t.requires_grad)
        if isinstance(t, nn.Parameter)
        else t.detach().to("meta")
        for t in _tensors(model)
    }
    return copy.deepcopy(model, known)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _take_own(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Before a state is loaded: of whole tensors, this process's part."""
    module.reshard()  # type: ignore[operator]
    for name, p in module.named_parameters(remove_duplicate=False):
        if prefix + name in state:
            state[prefix + name] = shards.placed(state[prefix + name], p)
