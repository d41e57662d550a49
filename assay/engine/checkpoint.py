"""A recipe's memory between steps, and its one file on disk.

Tensors are stored as safetensors and the rest as JSON, with a checksum of both. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from assay.engine import checksums, progress
from assay.engine.atomic import replacing
from assay.engine.shards import local
from assay.errors import InputError

# dataclasses that a Carry may hold; core registers Prompts, Samples and Pairs
RECORDS: dict[str, type] = {}
# what the libraries raise for a file of another making
DAMAGE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, RecursionError)
_OWN = ("next", "total", "_kept", "_saved", "_decode", "_begun")


class Carry:
    """What survives a step.

    `carry.keep(policy=…, opt=…)` registers whatever has a `state_dict` and fills it when resuming;
    every other value is the first value of an attribute. Attributes hold tensors, numbers, strings,
    lists, dicts and Samples. `for t in carry.steps(n)` goes on where it stopped.

    **The yield is the last act of a step**: what is saved at a yield is the state after that step.

    Args:
        saved: What `state` returned; None for a fresh start.
        decode: How restored Prompts turn ids into text.
        begun: Called once with the carry before the first step, when all is registered.
    """

    def __init__(
        self,
        saved: dict[str, Any] | None = None,
        decode: Any = None,
        begun: Callable[[Carry], None] | None = None,
    ):
        self.next, self.total = 0, -1
        self._kept: dict[str, Any] = {}
        self._saved = saved
        self._decode = decode  # a function, so it cannot be on disk
        self._begun = begun
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
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun(self)
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

    def bytes(self, name: str = "") -> int:
        """Count the bytes that the state will have on disk once it has grown to its full size.

        Args:
            name: Of one registered thing; "" for everything.
        """
        if name:
            thing = self._kept.get(name)
            return 0 if thing is None else _grown(thing)
        values = size({k: v for k, v in vars(self).items() if k not in _OWN})
        return values + sum(map(_grown, self._kept.values()))


def _grown(thing: Any) -> int:
    """What a thing's state will have: an optimiser has no moments before its first step."""
    own = getattr(thing, "state_bytes", None)
    return size(thing.state_dict()) if own is None else int(own())


def size(state: Any) -> int:
    """Count the bytes of the tensors in nested values, tensors that share their memory once."""
    tensors: dict[str, Tensor] = {}
    _pack(state, tensors, {})
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _memory(t: Tensor) -> tuple[Any, ...]:
    """What two tensors have in common that are one: tied weights are, under two names."""
    return (t.device, local(t).data_ptr(), t.dtype, tuple(t.shape), t.stride())


def _pack(value: Any, tensors: dict[str, Tensor], seen: dict[Any, str]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        if value.numel():  # an empty tensor has no memory that tells it from another
            name = seen.setdefault(_memory(value), name)
        tensors.setdefault(name, value.detach())
        return {"$t": name}
    if type(value).__name__ in RECORDS and isinstance(value, RECORDS[type(value).__name__]):
        names = [f.name for f in fields(RECORDS[type(value).__name__]) if f.name != "decode"]
        parts = {name: _pack(getattr(value, name), tensors, seen) for name in names}
        return {"$r": type(value).__name__, "fields": parts}
    if isinstance(value, dict):
        return {"$d": [[_pack(x, tensors, seen) for x in item] for item in value.items()]}
    if isinstance(value, tuple):
        return {"$u": [_pack(v, tensors, seen) for v in value]}
    if isinstance(value, list):
        return [_pack(v, tensors, seen) for v in value]
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


def save(path: Path, state: Any, about: Mapping[str, Any] | None = None) -> None:
    """Write nested tensors and plain values to one safetensors file, see atomic.replacing.

    Tensors that share their memory, as tied weights do, are written once.

    Args:
        path: The file. Its folder must exist.
        state: Nested dicts, lists and tuples of tensors, Samples and plain values.
        about: JSON values that `about` reads without the tensors, such as the run that it belongs
            to.

    Raises:
        TypeError: The state holds something else.
        NotWritten: The disk is full; a file that was there before is still there.
    """
    tensors: dict[str, Tensor] = {}
    text, more = json.dumps(_pack(state, tensors, {})), json.dumps(dict(about or {}))
    whole = {name: _by_itself(t) for name, t in tensors.items()} or {"none": torch.zeros(0)}
    needed = len(text) + sum(t.numel() * t.element_size() for t in whole.values())
    with progress.stage(f"saving {path.name}"), replacing(path, needed) as fresh:
        sums = {"checksum": checksums.of_state(whole, text, more)}
        sums["about_checksum"] = checksums.of_state({}, more)
        save_file(whole, str(fresh), metadata={"state": text, "about": more, **sums})


def digest(state: Any) -> str:
    """SHA-256 of nested tensors and plain values; a file's, once it was read, is the same.

    Args:
        state: What `save` takes.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_pack(state, tensors, {}))
    return checksums.of_state(tensors, text)


def _by_itself(t: Tensor) -> Tensor:
    """The tensor in memory of its own: safetensors refuses parts of a larger one."""
    t = t.contiguous()
    own = t.untyped_storage().nbytes() == t.numel() * t.element_size()
    return t if own else t.clone()


def about(path: Path) -> dict[str, Any]:
    """Read what `save` was told about a file, without its tensors.

    Args:
        path: The file.

    Returns:
        The values; {} where `save` was told nothing.

    Raises:
        InputError: The file is damaged.
    """
    with _opened(path) as f:
        return dict(json.loads(_described(f)["about"]))


def load(path: Path, decode: Any = None) -> Any:
    """Read what `save` wrote.

    Args:
        path: The file.
        decode: How restored Prompts turn ids into text.

    Raises:
        InputError: The file is damaged: its content is not what its checksum says.
    """
    with _opened(path) as f:
        said = {**_described(f), **_metadata(f, "state", "checksum")}
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
        if checksums.of_state(tensors, said["state"], said["about"]) != said["checksum"]:
            raise _Damaged("its content does not match its checksum")
        return _unpack(json.loads(said["state"]), tensors, decode)


class _Damaged(ValueError):
    """What a file holds is not what was written."""


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of tensors, whose damage is told in one sentence."""
    try:
        with safe_open(str(path), framework="pt") as f:  # type: ignore[no-untyped-call]
            yield f
    except _Damaged as why:
        raise _damaged(path, str(why)) from None
    except FileNotFoundError as why:  # of safetensors, which gives it no number
        raise InputError(f"{path} is gone; restore it from a copy") from why
    except DAMAGE as why:
        raise _damaged(path, f"{type(why).__name__}: {str(why)[:80]}") from why


def _described(f: Any) -> dict[str, str]:
    """What a file says of itself, after a look at its checksum."""
    said = _metadata(f, "about", "about_checksum")
    if checksums.of_state({}, said["about"]) != said["about_checksum"]:
        raise _Damaged("its description does not match its checksum")
    return said


def _metadata(f: Any, *names: str) -> dict[str, str]:
    """Entries of a file's metadata, all of which `save` writes."""
    found: dict[str, str] = f.metadata() or {}
    missing = [name for name in names if name not in found]
    if missing:
        raise _Damaged(f"it has no {missing[0]}, which this assay writes into every file")
    return found


def _damaged(path: Path, why: str) -> InputError:
    over = (  # a policy is kept for its own sake, and only another run makes it again
        "make it again by another run like this one (assay run --from)"
        if path.stem[:1].isdecimal()
        else "delete it to start this run over"
    )
    return InputError(f"{path} is damaged ({why}); restore it from a copy, or {over}")
