"""Tasks that share nothing, as many at a time as there are threads.

torch divides one operation among its threads, and for a small model the meeting at the end of each operation costs a good part
of what the division gains. Two models on a thread each meet once.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def together(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Their results, in order. Each of a group gets its share of torch's threads; what is left over when the groups are full
    goes one after another, with all of them. Gradient mode is the caller's.

    A number may differ in its last bits from what the task would give alone, as it does with the number of threads.
    """
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    at_once = min(threads, len(tasks))
    if at_once < 2:
        return [task() for task in tasks]

    def run(task: Callable[[], T]) -> T:
        torch.set_num_threads(threads // at_once)  # of the thread that asks, not of the process
        with torch.set_grad_enabled(grad):
            return task()

    whole = len(tasks) - len(tasks) % at_once
    return [*_pool(at_once).map(run, tasks[:whole]), *(task() for task in tasks[whole:])]


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="assay")
