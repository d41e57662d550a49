"""The queue: batches, order, what is refused, what is dropped, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from assay.serve.batching import Batcher, Closing, Full
from assay.serve.item import Item, Score


class Lanes:
    """Scores a text by its number, when it is let go."""

    def __init__(self, n: int = 1):
        self.n, self.batches, self.go = n, list[list[str]](), asyncio.Event()
        self.go.set()

    def __len__(self) -> int:
        return self.n

    async def score(self, items: Sequence[Item]) -> list[Score]:
        self.batches.append([str(x.completion) for x in items])
        await self.go.wait()
        if "boom" in self.batches[-1]:
            raise RuntimeError("boom")
        return [Score(float(str(x.completion)), (), None, None) for x in items]


def items(*numbers: Any) -> list[Item]:
    return [Item("p", str(n)) for n in numbers]


def run(test: Callable[[Lanes, Batcher], Awaitable[None]], n: int = 1, **settings: Any) -> None:
    async def whole() -> None:
        lanes = Lanes(n)
        queue = Batcher(lanes, **{"max_batch": 4, "max_wait": 0.01, "max_queue": 8, **settings})
        queue.start()
        await asyncio.wait_for(test(lanes, queue), 10)
        lanes.go.set()
        await asyncio.wait_for(queue.close(), 10)

    asyncio.run(whole())


def values(scores: Sequence[Score]) -> list[float | None]:
    return [s.value for s in scores]


def test_requests_share_batches_and_each_gets_its_own_scores_in_order() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        found = await asyncio.gather(*(queue.submit(items(i, i + 10)) for i in range(4)))
        assert [values(f) for f in found] == [[i, i + 10] for i in range(4)]
        assert [len(b) for b in lanes.batches] == [4, 4]
        assert values(await queue.submit(items(*range(6)))) == list(range(6))

    run(test)


def test_an_item_alone_waits_no_longer_than_it_has_to() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        begun = asyncio.get_running_loop().time()
        assert values(await queue.submit(items(7))) == [7]
        assert asyncio.get_running_loop().time() - begun > 0.2

    run(test, max_wait=0.2)


def test_a_full_queue_refuses_a_request_whole_and_names_a_time() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        lanes.go.clear()
        first = asyncio.create_task(queue.submit(items(*range(4))))
        await asyncio.sleep(0.05)  # they are being scored, and the queue is empty
        second = asyncio.create_task(queue.submit(items(*range(7))))
        await asyncio.sleep(0)
        with pytest.raises(Full) as why:
            await queue.submit(items(1, 2))
        assert 1 <= why.value.wait <= 60 and len(queue.waiting) == 7
        lanes.go.set()
        assert values(await second) == list(range(7)) and values(await first) == [0, 1, 2, 3]

    run(test)


def test_items_of_a_request_that_has_ended_are_not_scored_and_free_their_room() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        lanes.go.clear()
        first = asyncio.create_task(queue.submit(items(1, 2, 3, 4)))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(queue.submit(items(*["5"] * 8)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        late = asyncio.create_task(queue.submit(items(6)))
        await asyncio.sleep(0)
        lanes.go.set()
        assert values(await late) == [6] and values(await first) == [1, 2, 3, 4]
        assert [x for b in lanes.batches for x in b] == ["1", "2", "3", "4", "6"]

    run(test)


def test_a_batch_that_fails_fails_its_own_requests_and_the_next_is_scored() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        with pytest.raises(RuntimeError, match="boom"):
            await queue.submit(items("boom"))
        assert values(await queue.submit(items(3))) == [3]
        with pytest.raises(RuntimeError, match="boom"):
            await queue.submit(items("boom", 5, 6))
        assert values(await queue.submit(items(7))) == [7]
        assert lanes.batches == [["boom"], ["3"], ["boom", "5"], ["7"]], "and 6 is not scored"

    run(test, max_batch=2)


def test_the_end_scores_what_waits_and_takes_nothing_new() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        lanes.go.clear()
        taken = [asyncio.create_task(queue.submit(items(i))) for i in range(8)]
        await asyncio.sleep(0.05)
        ending = asyncio.create_task(queue.close())
        await asyncio.sleep(0)
        with pytest.raises(Closing):
            await queue.submit(items(9))
        assert queue.stalled() > 0.03
        lanes.go.set()
        assert [values(await t) for t in taken] == [[i] for i in range(8)]
        await ending
        assert queue.stalled() == 0

    run(test)


def test_what_is_abandoned_is_answered_and_not_scored() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        lanes.go.clear()
        taken = [asyncio.create_task(queue.submit(items(i))) for i in range(8)]
        await asyncio.sleep(0.05)
        queue.abandon()
        found = await asyncio.gather(*taken, return_exceptions=True)
        assert [type(x) for x in found] == [Closing] * 8
        lanes.go.set()

    run(test)


def test_two_lanes_score_two_batches_at_once() -> None:
    async def test(lanes: Lanes, queue: Batcher) -> None:
        lanes.go.clear()
        both = [asyncio.create_task(queue.submit(items(i, i, i, i))) for i in range(2)]
        await asyncio.sleep(0.1)
        assert sorted(b[0] for b in lanes.batches) == ["0", "1"]
        lanes.go.set()
        await asyncio.gather(*both)

    run(test, n=2)
