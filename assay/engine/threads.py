"""Runs independent tasks side by side, as many at a time as there are threads.

torch divides one operation among its threads, and for a small model the synchronisation at the end
of each operation costs a good part of the gain. Two models on a thread each synchronise once.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
_WITHIN = threading.local()


def together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run independent tasks and return their results, in order.

    The tasks of a group share torch's threads evenly; what is left over when the groups are full
    runs one after another, with all threads. Gradient mode is the caller's. Under autocast, and
    within a task, tasks run one after another. An error is raised once no task is running.

    A number may differ in its last bits from what the task alone would give, as it does with the
    number of threads.

    Args:
        tasks: Functions without arguments that share nothing they write to.
    """
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    at_once = min(threads, len(tasks))
    if at_once < 2 or torch.is_autocast_enabled("cpu") or getattr(_WITHIN, "task", False):
        return [task() for task in tasks]

    def run(task: Callable[[], T]) -> T:
        torch.set_num_threads(threads // at_once)
        _WITHIN.task = True
        with torch.set_grad_enabled(grad):
            return task()

    whole = len(tasks) - len(tasks) % at_once
    begun = [_pool(at_once).submit(run, task) for task in tasks[:whole]]
    try:
        wait(begun)
    finally:
        for f in begun:
            f.cancel()
        wait(begun)  # interrupted: who is at work still adds to gradients
        torch.set_num_threads(threads)  # threads that start later begin with a worker's number
    return [*(f.result() for f in begun), *(task() for task in tasks[whole:])]


@contextmanager
def as_many(threads: int | None) -> Iterator[None]:
    """Compute with this number of threads in the block: sums depend on it in their last bits.

    Args:
        threads: The number; None changes nothing.
    """
    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="assay")


if hasattr(os, "register_at_fork"):  # a forked child has none of the threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
