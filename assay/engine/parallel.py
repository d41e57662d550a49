"""Rows over processes, behind three doors; and the meter that counts what passes through them.

A recipe sees the whole batch in every process. `sample`, scoring and `descend` split rows here and
gather them before they return, so no recipe has a line about processes. Started by anything that
sets RANK and WORLD_SIZE (`accelerate launch`, `torchrun`); with one process every function here is
the identity.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from assay.engine.launchers import divides_weights, losing_others, timeout
from assay.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
COUNTED = ("generated", "scored", "compared", "labels", "updates")


class Meter:
    """Counts what a run has spent.

    Attributes:
        counts: Completions generated and scored, pairs compared, gold labels, updates.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self._lifted = 0

    def add(self, what: str, n: int) -> None:
        """Count n more, unless the meter is lifted."""
        if not self._lifted:
            self.counts[what] += int(n)

    @contextmanager
    def charging(self, counts: dict[str, int]) -> Iterator[None]:
        """Add what is spent within the block to these counts: every run has its own."""
        before, self.counts = self.counts, counts
        try:
            yield
        finally:
            self.counts = before

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Count nothing within the block: evaluation is not the method's cost."""
        self._lifted += 1
        try:
            yield
        finally:
            self._lifted -= 1


meter = Meter()


@contextmanager
def group() -> Iterator[None]:
    """Join the launcher's process group for the duration, and leave it at the end.

    A process that exits while it is still in a gloo group may be aborted by the group's threads
    (exit −6). All processes meet before they leave, so that none leaves while another still waits
    for it; after an error they leave at once. A group that existed before belongs to somebody else
    and is left alone. One process joins nothing.

    Raises:
        InputError: The launcher asks for what is not followed, see `launchers`.
        ProcessLost: Another process has ended or does not answer.
    """
    joined = start()
    try:
        with losing_others():
            yield
            barrier()
    finally:
        if joined:
            dist.destroy_process_group()


def start() -> bool:
    """Join the process group if a launcher started several processes.

    Returns:
        Whether it was joined now.

    Raises:
        InputError: The launcher asks for what is not followed, see `launchers`.
    """
    divides_weights()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():  # tensors of both kinds are gathered
            torch.cuda.set_device(
                int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
            )
            dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout())
        else:
            dist.init_process_group("gloo", timeout=timeout())
        return True
    return False


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(n: int) -> slice:
    """Return this process's contiguous share of n rows; shares differ by at most one row."""
    r, w = rank(), world_size()
    return slice(n * r // w, n * (r + 1) // w)


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        dist.barrier()


def sum_(x: Tensor) -> Tensor:
    """Sum over processes, in place."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def gather(x: Tensor, dim: int = 0) -> Tensor:
    """Join the processes' shares, in rank order.

    Args:
        x: This process's share.
        dim: The axis to join; other axes are padded with zeros to the longest.
    """
    if world_size() == 1:
        return x
    x = x.movedim(dim, 0)
    kind = x.dtype
    if kind == torch.bool:
        x = x.to(torch.uint8)
    shapes = [torch.zeros(x.dim(), dtype=torch.int64, device=x.device) for _ in range(world_size())]
    dist.all_gather(shapes, torch.tensor(x.shape, dtype=torch.int64, device=x.device))
    most = torch.stack(shapes).amax(0).tolist()
    padded = x.new_zeros(most)
    padded[tuple(slice(s) for s in x.shape)] = x
    parts = [torch.empty_like(padded) for _ in shapes]
    dist.all_gather(parts, padded)
    whole = torch.cat([p[: int(s[0])] for p, s in zip(parts, shapes, strict=True)])
    return whole.to(kind).movedim(0, dim)


def objects(mine: list[Any]) -> list[list[Any]]:
    """Return every process's list, in rank order; all have to call it together.

    Args:
        mine: This process's list, of what pickle can hold.
    """
    if world_size() == 1:
        return [mine]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, mine)
    return found


def most(n: int) -> int:
    """Return the largest of the processes' numbers; all have to call it together."""
    if world_size() == 1:
        return n
    found = torch.tensor(n)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return int(found)


def agreed(do: Callable[[], T]) -> T:
    """Do something in every process, and raise in all of them what a user has to mend in one.

    A process that raises alone leaves the others waiting for it.

    Args:
        do: Called once; it must not wait for other processes.

    Raises:
        InputError: It was raised in this process or in another one.
    """
    if world_size() == 1:
        return do()
    why: InputError | None = None
    try:
        out = do()
    except InputError as e:
        why = e
    said = [s for (s,) in objects(["" if why is None else str(why)]) if s]
    if said:
        raise InputError(said[0]) from why
    return out


def same_everywhere(x: Tensor) -> Tensor:
    """Return rank 0's tensor, in every process."""
    if world_size() > 1:
        dist.broadcast(x, 0)
    return x


def by_rows(compute: Callable[[Any], Tensor], samples: Any) -> Tensor:
    """Compute something of each row, every process of its share; all have to call it together.

    Args:
        compute: Called with some of the rows; returns a tensor of as many, without gradient.
        samples: The rows.

    Returns:
        Of all rows, in order.
    """
    B = len(samples)
    if 1 < world_size() <= B:
        return gather(compute(samples[torch.arange(B)[share(B)]]))
    return compute(samples)


def sampling(method: F) -> F:
    """Decorate `sample(prompts, n, rng, start=None)`: rows are split, drawn and gathered.

    Completions are counted as generated.
    """

    @functools.wraps(method)
    def door(self: Any, prompts: Any, n: Any, rng: Any, start: Any = None) -> Any:
        B = len(prompts)
        if 1 < world_size() <= B:
            mine = torch.arange(B)[share(B)]
            n_here = n[mine] if isinstance(n, Tensor) else n
            begun = None if start is None else start[mine]
            if begun is not None and isinstance(n_here, Tensor) and begun.mask.shape[1] > 1:
                most = int(n_here.max())  # this share may ask for fewer than the whole batch does
                begun = begun.pick(torch.arange(most).expand(len(n_here), most))
            samples = method(self, prompts[mine], n_here, rng[mine], begun)
            samples = samples.gathered(prompts)
        else:
            samples = method(self, prompts, n, rng, start)
        meter.add("generated", int(samples.present.sum()))
        return samples

    return door  # type: ignore[return-value]


def scoring(method: F) -> F:
    """Decorate a reward's `__call__(samples) → [M,B,N]`: rows are split, scored and gathered.

    One call a member and completion is counted as scored, so an ensemble costs what it costs.
    """

    @functools.wraps(method)
    def door(self: Any, samples: Any) -> Tensor:
        B = len(samples)
        if 1 < world_size() <= B:
            scores = gather(method(self, samples[torch.arange(B)[share(B)]]), 1)
        else:
            scores = method(self, samples)
        meter.add("scored", int(samples.present.sum()) * scores.shape[0])
        return scores

    return door  # type: ignore[return-value]
