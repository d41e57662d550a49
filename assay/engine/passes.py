"""How many completions one forward and backward pass may hold, so that it fits into memory.

What a backward pass needs is what the forward pass saves for it. `saved_bytes` counts that, for one
completion; `completions_that_fit` divides a share of the free memory by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]
import torch
from jaxtyping import Int
from torch import Tensor

from assay.engine import parallel, progress, shards
from assay.engine.shards import local

# A CPU's heap grows to about twice what a pass saves, by holes between blocks that are still held
# (measured with glibc 2.36). So an eighth of the free memory becomes a quarter of it, and the rest
# is left to evaluation and to other processes. CUDA's allocator reuses its blocks.
_SHARE = {"cpu": 1 / 8, "cuda": 1 / 2}
_CGROUP = Path("/sys/fs/cgroup")
TOKENS = 16384  # of one pass, at most, where no gradient is wanted
_PADDED = 256  # padding that costs as much as another pass of a small model on two cores

Split = Literal["prompts", "completions"]  # what a pass may part


def saved_bytes(
    forward: Callable[[], Any],
    parameters: Iterable[Tensor] = (),
    untrained: Iterable[Tensor] = (),
) -> int:
    """Count the bytes that a forward pass saves for its backward pass, parameters left out.

    Args:
        forward: Called once, with gradients on.
        parameters: Tensors that are there in any case. Those of floating point require a gradient
            while `forward` runs.
        untrained: Tensors that are there in any case too, and left as they are.

    Returns:
        The bytes of all storages that autograd saved, each counted once. One that is empty when
        `forward` has ended, as a gathered weight is, counts nothing.

    Example:
        >>> x = torch.zeros(100, requires_grad=True)
        >>> saved_bytes(lambda: (x * 2).exp())  # exp saves its output, 100 float32
        400
    """
    weights = list(parameters)
    frozen = [w for w in weights if w.is_floating_point() and not w.requires_grad]
    own = {local(w).untyped_storage().data_ptr() for w in (*weights, *untrained)}
    found: dict[int, torch.UntypedStorage] = {}

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage._cdata] = storage
        return saved

    for w in frozen:
        w.requires_grad_(True)
    try:
        with (
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved),
        ):
            kept = (
                forward()
            )  # held until all is counted, so that no storage's address is used twice
            each = {s.data_ptr(): s.nbytes() for s in found.values()}
            del kept
    finally:
        for w in frozen:
            w.requires_grad_(False)
    return sum(each.values())


def trained_bytes(parameters: Iterable[Tensor]) -> int:
    """Count what training a copy of these weights takes.

    Args:
        parameters: The weights that are copied.

    Returns:
        Bytes of the copy, its gradient and Adam's two moments. Of weights in half precision all
        four are float32, and the rounded weights that the copy computes with come on top; where
        weights are divided over processes, these are rounded when they are gathered.

    Example:
        >>> w = torch.zeros(10)
        >>> trained_bytes([w]), trained_bytes([w.bfloat16()])
        (160, 180)
    """
    total = 0
    for w in parameters:
        size = w.element_size()
        rounded = size if size < 4 and not shards.is_shard(w) else 0
        total += local(w).numel() * (4 * max(4, size) + rounded)
    return total


def free_bytes(device: torch.device | str = "cpu") -> int:
    """Read how much memory this process could still take.

    Args:
        device: Where the passes are computed.

    Returns:
        Bytes: of the GPU, what its driver and torch's allocator have free; else of the machine, or
        of the container where that allows less.
    """
    where = torch.device(device)
    if where.type == "cuda":
        cached = torch.cuda.memory_reserved(where) - torch.cuda.memory_allocated(where)
        return int(torch.cuda.mem_get_info(where)[0]) + cached
    free = int(psutil.virtual_memory().available)
    try:
        limit, used = ((_CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return free


def all_bytes(device: torch.device | str = "cpu") -> int:
    """Read how much memory a device has, used and free: the same at any time of a run.

    Args:
        device: Where is computed.

    Returns:
        Bytes: of the GPU; else of the machine, or of the container where that allows less.
    """
    where = torch.device(device)
    if where.type == "cuda":
        return int(torch.cuda.get_device_properties(where).total_memory)
    whole = int(psutil.virtual_memory().total)
    try:
        return min(whole, int((_CGROUP / "memory.max").read_text()))
    except (OSError, ValueError):  # no control group, or one without a limit ("max")
        return whole


def completions_that_fit(
    each: int,
    *,
    once: int = 0,
    together: int = 1,
    reserved: int = 0,
    device: torch.device | str = "cpu",
    processes: int = 1,
    least: int = 1,
) -> int:
    """Choose how many completions a pass may hold.

    Args:
        each: Bytes that a pass saves for the longest completion, see `saved_bytes`.
        once: Bytes that it saves for a prompt, however many of its completions the pass holds.
        together: Completions of a prompt, which a pass holds if they fit.
        reserved: Bytes that are free now and will not be, see `trained_bytes`.
        device: Where the passes are computed.
        processes: Processes that share the device's memory.
        least: What is returned where less would fit: a completion is never cut.

    Returns:
        Completions a pass, at least `least`.
    """
    room = free_bytes(device) // processes - reserved
    room = int(_SHARE.get(torch.device(device).type, _SHARE["cpu"]) * room)
    of_one_prompt = (room - once) // max(1, each)
    if of_one_prompt < together:
        return max(least, of_one_prompt)
    return together * (room // max(1, together * each + once))


def in_passes(compute: Callable[[Any], Tensor], samples: Any, size: int, what: str) -> Tensor:
    """Compute something of each completion in bounded passes, without gradient.

    Args:
        compute: Called with some of the samples; returns `[b,n,…]`.
        samples: B prompts with N completions each.
        size: Completions a pass, at most.
        what: What is computed, as it is announced.

    Returns:
        `[B,N,…]`.
    """
    B, N = samples.mask.shape[:2]
    own = list(pieces(torch.arange(B), N, size, "completions"))
    # where weights are divided, every pass gathers them: a process with fewer has to join in
    spare = parallel.most(len(own)) - len(own) if shards.present() else 0
    with progress.stage(what, B * N, "completions") as going:
        going.upcoming(min(size, B * N))
        if size >= B * N and not spare:
            out = compute(samples)
            going.advance(B * N)
            return out
        parts = []
        for rows, among in own:
            piece = samples[rows]
            parts.append(compute(piece if among is None else piece.pick(among[None])).flatten(0, 1))
            going.advance(len(parts[-1]))
            going.upcoming(min(size, B * N))
        for _ in range(spare):
            compute(samples[:1].pick(torch.zeros(1, 1, dtype=torch.int64)))
        return torch.cat(parts).unflatten(0, (B, N))


def pieces(
    rows: Int[Tensor, "r"], n: int, size: int, split: Split
) -> Iterator[tuple[Int[Tensor, "b"], Int[Tensor, "k"] | None]]:
    """Divide rows of n completions into passes.

    Args:
        rows: The rows to divide; none yields no pass.
        n: Completions a row.
        size: Completions a pass, at most; 0 for one pass.
        split: "completions": a pass may hold some of a row's completions. "prompts": a row is one
            pass at least.

    Yields:
        The rows of a pass, and which of a row's completions it holds (None: all).
    """
    if not len(rows):
        return
    size = size or len(rows) * n
    if split == "completions" and size < n:
        parts = torch.arange(n).split(size)
        yield from ((row, part) for row in rows.split(1) for part in parts)
    else:
        yield from ((part, None) for part in rows.split(max(1, size // max(1, n))))


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Divide rows into passes of like length, of a bounded number of tokens each.

    A pass ends where its padding would cost more than another pass does.

    Args:
        lengths: Tokens of each row.

    Returns:
        The rows of each pass, by index, from short to long.

    Example:
        >>> of_like_length([9, 3000, 10, 9])
        [[0, 3, 2], [1]]
    """
    out: list[list[int]] = []
    padded = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        rows = len(out[-1]) if out else 0
        padded += rows * (lengths[i] - lengths[out[-1][-1]]) if out else 0
        tokens = (rows + 1) * lengths[i]
        if not out or tokens > TOKENS or padded > max(_PADDED, tokens // 16):
            out.append([])
            padded = 0
        out[-1].append(i)
    return out
