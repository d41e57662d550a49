"""A recipe's memory between steps, and its one file on disk.

Tensors are stored as safetensors and the rest as JSON. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from assay.engine import progress
from assay.engine.atomic import replacing
from assay.errors import InputError

# dataclasses that a Carry may hold; core registers Prompts, Samples and Pairs
RECORDS: dict[str, type] = {}
_OWN = ("next", "total", "_kept", "_saved", "_decode")


class Carry:
    """What survives a step.

    `carry.keep(policy=…, opt=…)` registers whatever has a `state_dict` and fills it when resuming;
    every other value is the first value of an attribute. Attributes hold tensors, numbers, strings,
    lists, dicts and Samples. `for t in carry.steps(n)` goes on where it stopped.

    **The yield is the last act of a step**: what is saved at a yield is the state after that step.

    Args:
        saved: What `state` returned; None for a fresh start.
        decode: How restored Prompts turn ids into text.
    """

    def __init__(self, saved: dict[str, Any] | None = None, decode: Any = None):
        self.next, self.total = 0, -1
        self._kept: dict[str, Any] = {}
        self._saved = saved
        self._decode = decode  # a function, so it cannot be on disk
        if saved is not None:
            self.next = saved["next"]

    def keep(self, **things: Any) -> Carry:
        """Register modules and first values; when resuming, fill them with what was saved.

        Returns:
            The carry itself.
        """
        for name, thing in things.items():
            if name in _OWN or name in ("keep", "steps", "state"):
                raise ValueError(f"a carry has its own use for the name '{name}'; choose another")
            if hasattr(thing, "state_dict"):
                self._kept[name] = thing
                if self._saved is not None:
                    thing.load_state_dict(self._saved["kept"][name])
            elif self._saved is not None and name in self._saved["values"]:
                setattr(self, name, self._saved["values"][name])
            else:
                setattr(self, name, thing)
        return self

    def steps(self, n: int) -> Iterator[int]:
        """Yield 0 … n−1, or what is left of it."""
        self.total = n
        for t in range(self.next, n):
            self.next = t + 1
            yield t

    def state(self) -> dict[str, Any]:
        """Return everything, as nested dicts of tensors and plain values."""
        values = {k: v for k, v in vars(self).items() if k not in _OWN}
        return {
            "next": self.next,
            "kept": {k: v.state_dict() for k, v in self._kept.items()},
            "values": values,
        }


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"$t": name}
    if type(value).__name__ in RECORDS and isinstance(value, RECORDS[type(value).__name__]):
        names = [f.name for f in fields(RECORDS[type(value).__name__]) if f.name != "decode"]
        parts = {name: _pack(getattr(value, name), tensors) for name in names}
        return {"$r": type(value).__name__, "fields": parts}
    if isinstance(value, dict):
        return {"$d": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"$u": [_pack(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_pack(v, tensors) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"a carry cannot hold a {type(value).__name__}: it holds tensors, numbers, strings, lists, "
        "dicts and Samples"
    )


def _unpack(value: Any, tensors: dict[str, Tensor], decode: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(v, tensors, decode) for v in value]
    if not isinstance(value, dict):
        return value
    if "$t" in value:
        return tensors[value["$t"]]
    if "$d" in value:
        return {_unpack(k, tensors, decode): _unpack(v, tensors, decode) for k, v in value["$d"]}
    if "$u" in value:
        return tuple(_unpack(v, tensors, decode) for v in value["$u"])
    parts = {k: _unpack(v, tensors, decode) for k, v in value["fields"].items()}
    return RECORDS[value["$r"]](**parts, **({"decode": decode} if value["$r"] == "Prompts" else {}))


def save(path: Path, state: Any) -> None:
    """Write nested tensors and plain values to one safetensors file, see atomic.replacing.

    Args:
        path: The file. Its folder must exist.
        state: Nested dicts, lists and tuples of tensors, Samples and plain values.

    Raises:
        TypeError: The state holds something else.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, tensors))
    with progress.stage(f"saving {path.name}"), replacing(path) as fresh:
        save_file(tensors or {"none": torch.zeros(0)}, str(fresh), metadata={"state": text})


def load(path: Path, decode: Any = None) -> Any:
    """Read what `save` wrote.

    Args:
        path: The file.
        decode: How restored Prompts turn ids into text.

    Raises:
        InputError: The file is damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as f:  # type: ignore[no-untyped-call]
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
            return _unpack(json.loads(f.metadata()["state"]), tensors, decode)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as why:
        raise InputError(
            f"{path} is damaged ({type(why).__name__}: {str(why)[:80]}); delete it to start this "
            "run over"
        ) from why
