"""Tensors of which each process holds a part: torch's DTensor, as `fully_shard` makes them.

A weight that is divided over processes behaves as a whole one wherever numbers are combined
elementwise. What leaves the processes (checkpoints, norms, sizes) goes through here. Tensors that
are not divided pass unchanged, so one process pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_PRESENT = False


def present() -> bool:
    """Whether weights have been divided in this process; then every pass waits for the others."""
    return _PRESENT


def begin() -> None:
    """Say that weights are divided from now on."""
    global _PRESENT
    _PRESENT = True


def is_shard(t: Any) -> bool:
    """Whether a tensor is divided over processes."""
    if not isinstance(t, Tensor) or not dist.is_available() or not dist.is_initialized():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(t, DTensor)


def local(t: Tensor) -> Tensor:
    """Return what this process holds of a tensor.

    Example:
        >>> local(torch.ones(2))
        tensor([1., 1.])
    """
    if not is_shard(t):
        return t
    out: Tensor = t.to_local()  # type: ignore[attr-defined]
    return out


def placed(whole: Tensor, like: Tensor) -> Tensor:
    """Return this process's part of a whole tensor, divided as another is.

    Nothing is sent: every process has the whole, as a file that all of them map.

    Args:
        whole: The whole tensor; one that is divided already is returned as it is.
        like: A tensor of the same shape.
    """
    if not is_shard(like) or is_shard(whole) or whole.shape != like.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh, where = like.device_mesh, like.placements  # type: ignore[attr-defined]
    return distribute_tensor(whole.to(like.device), mesh, where, src_data_rank=None)


def gathered(state: Any, *, first: bool) -> Any:
    """Return nested values with every divided tensor whole; all processes call it together.

    One tensor is whole at a time in the processes that do not keep it.

    Args:
        state: Nested dicts, lists and tuples of tensors and plain values.
        first: Whether this process keeps the whole tensors, in the host's memory; the others get
            empty ones.
    """
    return _gathered(state, first, {})


def _gathered(value: Any, first: bool, seen: dict[int, tuple[Tensor, Tensor]]) -> Any:
    if is_shard(value):
        part = local(value.detach())  # tied weights stay one tensor, under two names
        key = part.data_ptr() if part.numel() else id(value)
        if key not in seen or seen[key][0].shape != value.shape:
            whole = value.detach().full_tensor()
            seen[key] = value, (whole.cpu() if first else whole.new_empty(0))
        return seen[key][1]
    if isinstance(value, dict):
        return {k: _gathered(v, first, seen) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_gathered(v, first, seen) for v in value)
    return value


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """Compute the Euclidean norm of all entries of some tensors, whole and divided ones.

    All processes call it together, with whole tensors that are the same in each of them.

    Example:
        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
        tensor(5.)
    """
    each = list(tensors)
    whole, parts = _sides(each)
    norm = torch.nn.utils.get_total_norm(whole)
    if not parts:
        return norm
    mine = torch.nn.utils.get_total_norm([local(t) for t in parts]).double().square()
    dist.all_reduce(mine)
    wide = torch.float64 if parts[0].dtype == torch.float64 else torch.float32
    return (mine + norm.to(mine).square()).sqrt().to(wide)


def _sides(tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Whole tensors, and divided ones."""
    return [t for t in tensors if not is_shard(t)], [t for t in tensors if is_shard(t)]


def sides(tensors: list[Any]) -> list[list[Any]]:
    """Divide parameters into whole and divided ones, which no fused operation takes together."""
    return [side for side in _sides(tensors) if side]
