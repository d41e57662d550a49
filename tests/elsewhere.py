"""A second device without a second device: tensors that say they live elsewhere, are computed by
the processor all the same, and refuse what a GPU refuses, which is to meet the processor's tensors
in one operation.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

adam: Any = importlib.import_module("torch.optim.adam")
ELSEWHERE = torch.device(
    "meta"
)  # a device that has no numbers of its own, so that none can come from it unseen
_aten = torch.ops.aten
MIXED = {
    _aten.copy_.default,
    _aten._to_copy.default,
}  # what a GPU does with the processor's tensors: copies …
INDEXING = {
    _aten.index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
}  # … and places


class There(torch.Tensor):
    """A tensor elsewhere; `here`: the one it stands for."""

    here: torch.Tensor

    @staticmethod
    def __new__(cls, here: torch.Tensor) -> There:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=ELSEWHERE,
        )

    def __init__(self, here: torch.Tensor) -> None:
        self.here = here

    def tolist(self) -> Any:
        return self.here.tolist()

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(_listed(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_listed(key), value)

    def item(self) -> Any:
        return self.here.item()

    def __bool__(self) -> bool:
        return bool(self.here)

    def __int__(self) -> int:
        return int(self.here)

    def __float__(self) -> float:
        return float(self.here)

    def __index__(self) -> int:
        return int(self.here)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"There({self.here})"

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["here"], None

    @staticmethod
    def __tensor_unflatten__(inner: Any, meta: Any, size: Any, stride: Any) -> There:
        return There(inner["here"])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch calls it as a class's, and types it as an object's
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})


def _listed(key: Any) -> Any:
    """A list as places: torch would put it on the device without telling any mode of it."""
    if isinstance(key, list):
        return torch.tensor(key)
    return tuple(map(_listed, key)) if isinstance(key, tuple) else key


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, by the processor."""
    looked = (args[0], *args[2:]) if function in INDEXING else (args, kwargs)
    given = [t for t in tree_leaves(looked) if isinstance(t, torch.Tensor)]
    away = [t for t in given if isinstance(t, There)]
    if (
        away
        and function not in MIXED
        and any(not isinstance(t, There) and t.dim() > 0 for t in given)
    ):
        raise RuntimeError(f"{function} on tensors of two devices")
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if away or (target is not None and target.type == ELSEWHERE.type):
        inner = {k: v for k, v in kwargs.items() if k != "device"}
        if target is not None:
            inner["device"] = torch.device("cpu")
        plain_args, inner = tree_map(lambda t: t.here if isinstance(t, There) else t, (args, inner))
        out = function(*plain_args, **inner)
        if target is not None and target.type == "cpu":
            return tree_map(lambda t: t.clone() if isinstance(t, torch.Tensor) else t, out)
        if function is _aten.copy_.default and not isinstance(args[0], There):
            return args[0]
        out = tree_map(lambda t: There(t) if isinstance(t, torch.Tensor) else t, out)
        return return_and_correct_aliasing(function, args, kwargs, out) if away else out
    return function(*args, **kwargs)


class Trap(TorchDispatchMode):
    """Within, tensors can be made elsewhere."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return computed(function, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Modules may be moved within, as to a GPU."""
    before, tensor = torch.__future__.get_overwrite_module_params_on_conversion(), torch.tensor

    def made(data: Any, *, device: Any = None, **more: Any) -> torch.Tensor:
        """torch.tensor moves what it has made without telling any mode of it."""
        plain = tensor(data, **more)
        return plain if device is None else plain.to(device)

    known = adam._device_dtype_check_for_fused
    adam._device_dtype_check_for_fused = lambda *_, **__: (
        None
    )  # a list of device types that have a fused step
    torch.tensor = made  # type: ignore[assignment]
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with Trap():
            yield ELSEWHERE
    finally:
        torch.tensor = tensor
        adam._device_dtype_check_for_fused = known
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def is_elsewhere(module: nn.Module) -> bool:
    return all(p.device == ELSEWHERE for p in module.parameters())
