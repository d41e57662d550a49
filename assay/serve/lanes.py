"""Where scores are computed: lanes, each of which scores one batch at a time.

A lane is a thread of its own. With `workers` it asks a child process, which has loaded the rewards
for itself; else it scores here. Threads are daemons: a reward function that never returns cannot
keep the server from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

from assay.errors import InputError
from assay.serve.item import Item, Score

Scoring = Callable[[Sequence[Item]], list[Score]]


class Died(Exception):
    """A scoring process ended while it scored. It is started again, and the client may retry."""


class Lanes:
    """Threads that score, one batch each at a time.

    Args:
        scoring: What each lane calls.
    """

    def __init__(self, scoring: Sequence[Scoring]):
        self.calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.scoring = list(scoring)
        for k, one in enumerate(self.scoring):
            threading.Thread(
                target=self._run, args=(one,), name=f"scoring {k}", daemon=True
            ).start()

    def __len__(self) -> int:
        return len(self.scoring)

    async def score(self, items: Sequence[Item]) -> list[Score]:
        """Score a batch in the next lane that is free.

        Raises:
            Died: The process that scored it ended.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[Score]] = loop.create_future()
        self.calls.put((items, done, loop))
        return await done

    def close(self) -> None:
        """End the lanes that are idle; a batch under way is not waited for."""
        for one in self.scoring:
            self.calls.put(None)
            if isinstance(one, Child):
                one.close()

    def _run(self, scoring: Scoring) -> None:
        while (call := self.calls.get()) is not None:
            items, done, loop = call
            found: list[Score] | Exception
            try:
                found = scoring(items)
            except Exception as why:  # the client hears of it, and the lane goes on
                found = why
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(_tell, done, found)


def _tell(done: asyncio.Future[Any], found: list[Score] | Exception) -> None:
    if done.done():
        return
    if isinstance(found, Exception):
        done.set_exception(found)
    else:
        done.set_result(found)


class Child:
    """A process that has loaded the rewards and scores what it is sent.

    Args:
        load: Called in the child; returns (the scoring, what is known of the rewards). It and its
            arguments have to be importable by name.
        arguments: Its arguments.
        threads: torch's threads in the child.
        limit: Seconds that a batch may take; then the process is ended and started again. None for
            any time.

    Attributes:
        about: What is known of the rewards.

    Raises:
        InputError: The rewards cannot be loaded.
    """

    def __init__(
        self,
        load: Callable[..., Any],
        arguments: tuple[Any, ...],
        threads: int,
        limit: float | None = None,
    ):
        self.load, self.arguments, self.threads, self.limit = load, arguments, threads, limit
        self.about: Any = None
        self.closed = False
        self._start()

    def __call__(self, items: Sequence[Item]) -> list[Score]:
        """Score items there.

        Raises:
            Died: The process ended or took too long; it has been started again.
        """
        ended = "a scoring process ended"
        try:
            self.pipe.send(list(items))
            if not self.pipe.poll(self.limit):  # a reward that hangs would keep its lane for ever
                ended = f"a scoring process gave no answer in {self.limit:g} seconds"
                self.process.kill()
            found: Any = self.pipe.recv()
        except (EOFError, OSError) as why:
            if self.closed:
                raise Died("the server has ended") from why
            self._start()
            raise Died(f"{ended} and was started again") from why
        if isinstance(found, Exception):
            raise found
        return list(found)

    def close(self) -> None:
        """End the process, and start no other."""
        self.closed = True
        self.process.kill()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(other, self.load, self.arguments, self.threads), daemon=True
        )
        self.process.start()
        if self.closed:  # while it was started
            self.process.kill()
        other.close()
        try:
            found: Any = self.pipe.recv()
        except EOFError as why:
            raise InputError("a scoring process ended while it loaded the reward") from why
        if isinstance(found, Exception):
            raise found
        self.about = found


def _serve(pipe: Any, load: Callable[..., Any], arguments: tuple[Any, ...], threads: int) -> None:
    """What a child does until the server closes the pipe, or ends."""
    for sent in (signal.SIGINT, signal.SIGTERM):  # the server ends this process when it is done
        signal.signal(sent, signal.SIG_IGN)
    import torch

    from assay.engine import memory

    torch.set_num_threads(threads)
    memory.keep()
    try:
        scoring, about = load(*arguments)
    except InputError as why:
        pipe.send(InputError(str(why)))
        return
    gc.freeze()  # what is loaded stays, and need not be looked through again and again
    pipe.send(about)
    while True:
        try:
            items = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(scoring(items))
        except Exception as why:  # an exception of a library may not travel; its text does
            pipe.send(RuntimeError(f"{type(why).__name__}: {why}"))


def threads_each(workers: int) -> int:
    """torch's threads for each of several processes.

    Example:
        >>> threads_each(1000)
        1
    """
    own = getattr(os, "sched_getaffinity", None)
    cores = len(own(0)) if own is not None else os.cpu_count() or 1
    return max(1, cores // max(1, workers))
