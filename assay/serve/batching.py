"""Dynamic batching: items of all requests wait in one bounded queue and are scored together.

A batch begins when a lane is free and either `max_batch` items wait or the oldest has waited for
`max_wait`. It holds the oldest item and those that are nearest to it in length, because models read
shorter rows padded to the longest. Items whose request has ended (its time is over, its client has
gone) are left out. All of this runs in one event loop, so that nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assay.serve.item import Item, Score


class Full(Exception):
    """The queue has no room for a request.

    Args:
        wait: Seconds after which there may be room.
    """

    def __init__(self, wait: int):
        super().__init__("the queue is full")
        self.wait = wait


class Closing(Exception):
    """The server takes no new work, because it is about to end."""


@runtime_checkable
class Scores(Protocol):
    """What scores batches, as many at a time as it is long."""

    def __len__(self) -> int: ...

    async def score(self, items: Sequence[Item]) -> list[Score]:
        """Score a batch."""
        ...


@dataclass(eq=False)
class _Waiting:
    """One item in the queue, and all items of its request."""

    item: Item
    done: asyncio.Future[Score]
    request: list[_Waiting]
    since: float = field(default_factory=time.monotonic)
    length: int = field(init=False)  # characters

    def __post_init__(self) -> None:
        self.length = sum(self.item.size)


def _refuse(some: Iterable[_Waiting]) -> None:
    for w in some:
        if not w.done.done():
            w.done.set_exception(Closing())


def _unseen(items: int, seconds: float) -> None:
    """Nobody looks at batches."""


class Batcher:
    """Scores the items of many requests in batches.

    Args:
        lanes: What scores a batch.
        max_batch: The most items of a batch.
        max_wait: Seconds that an item waits for others.
        max_queue: The most items that wait.
        seen: Called with each batch's items and seconds.
    """

    def __init__(
        self,
        lanes: Scores,
        *,
        max_batch: int,
        max_wait: float,
        max_queue: int,
        seen: Callable[[int, float], None] = _unseen,
    ):
        self.lanes, self.max_batch, self.max_wait = lanes, max_batch, max_wait
        self.max_queue, self.seen = max_queue, seen
        self.waiting: deque[_Waiting] = deque()
        self.running: dict[asyncio.Task[Any], float] = {}  # since when each batch is scored
        self.arrived, self.closing = asyncio.Event(), False
        self.each = 0.01  # seconds an item, as the last batches took
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take batches, one a lane at a time."""
        self.tasks = [asyncio.create_task(self._run()) for _ in range(len(self.lanes))]

    async def submit(self, items: Sequence[Item]) -> list[Score]:
        """Score the items of one request. Where it is cancelled, its waiting items are dropped.

        Args:
            items: The items.

        Returns:
            One score an item, in the same order.

        Raises:
            Full: The queue has no room for all of them.
            Closing: The server is about to end.
        """
        if self.closing:
            raise Closing
        if len(self.waiting) + len(items) > self.max_queue:
            self._drop()
        if len(self.waiting) + len(items) > self.max_queue:
            raise Full(self.patience())
        loop = asyncio.get_running_loop()
        own = list[_Waiting]()
        own += (_Waiting(item, loop.create_future(), own) for item in items)
        self.waiting.extend(own)
        self.arrived.set()
        return list(await asyncio.gather(*(w.done for w in own)))

    async def close(self) -> None:
        """Take nothing new, and wait until everything that waits is scored."""
        self.closing = True
        self.arrived.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def abandon(self) -> None:
        """Answer what waits and what is being scored with `Closing`: there is no time left."""
        self.closing = True
        _refuse(self.waiting)
        for task in self.tasks:
            task.cancel()

    def patience(self) -> int:
        """Seconds after which half of the queue will be done, at the present speed: 1 to 60."""
        half = self.each * len(self.waiting) / 2 / max(1, len(self.lanes))
        return min(60, max(1, math.ceil(half)))

    def stalled(self) -> float:
        """Seconds since the oldest batch that is being scored began; 0 where none is."""
        begun = min(self.running.values(), default=None)
        return 0.0 if begun is None else time.monotonic() - begun

    def _drop(self) -> None:
        """Forget items whose request has ended."""
        self.waiting = deque(w for w in self.waiting if not w.done.done())

    async def _run(self) -> None:
        while batch := await self._next():
            task = asyncio.current_task()
            assert task is not None
            begun = self.running[task] = time.monotonic()
            try:
                scores = await self.lanes.score([w.item for w in batch])
                for w, score in zip(batch, scores, strict=True):
                    if not w.done.done():
                        w.done.set_result(score)
            except asyncio.CancelledError:
                _refuse(batch)
                raise
            except Exception as why:
                for w in (x for one in batch for x in one.request):  # and score no more of them
                    if not w.done.done():
                        w.done.set_exception(why)
            finally:
                del self.running[task]
            took = time.monotonic() - begun
            self.each += 0.2 * (took / len(batch) - self.each)
            self.seen(len(batch), took)

    async def _next(self) -> list[_Waiting]:
        """The next batch; none where the server ends and nothing waits."""
        while True:
            self._drop_first()
            if not self.waiting:
                if self.closing:
                    return []
                self.arrived.clear()
                await self.arrived.wait()
                continue
            left = self.waiting[0].since + self.max_wait - time.monotonic()
            if len(self.waiting) >= self.max_batch or left <= 0 or self.closing:
                break
            self.arrived.clear()
            try:
                await asyncio.wait_for(self.arrived.wait(), left)
            except TimeoutError:
                continue
        self._drop()
        first = self.waiting[0].length
        batch = sorted(self.waiting, key=lambda w: abs(w.length - first))[: self.max_batch]
        taken = set(map(id, batch))
        self.waiting = deque(w for w in self.waiting if id(w) not in taken)
        return batch

    def _drop_first(self) -> None:
        while self.waiting and self.waiting[0].done.done():
            self.waiting.popleft()
