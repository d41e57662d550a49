"""The reward server against a model: every request gets one answer, its own and in order, however
clients go, batches fail, the time runs out and the server ends.

The application is called without a network, its clock is set by hand, and a batch ends when a rule
says so; so the model knows exactly what is scored, what waits and what each client has heard.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stateful import PROFILES

from assay.serve.app import Service, application
from assay.serve.config import ServeConfig
from assay.serve.formats import FORMATS
from assay.serve.item import Item, Score
from assay.serve.lanes import Died
from assay.serve.own_format import ScoreFormat

BATCH, QUEUE, ITEMS, TIME = 2, 5, 4, 10.0
LIMITS = ServeConfig(
    max_batch=BATCH,
    max_wait=0.0,
    max_queue=QUEUE,
    max_items=ITEMS,
    timeout=TIME,
    log_requests=False,
)
ABOUT = {"id": "a", "digest": "d", "members": ["m"]}
Place = tuple[int, int]  # of an item: its request, and where it stands there


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time is set by hand."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Lanes:
    """Scores no batch before it is told to."""

    def __init__(self, n: int):
        self.n = n
        self.running = list[tuple[list[str], asyncio.Future[list[Score]]]]()

    def __len__(self) -> int:
        return self.n

    async def score(self, items: Sequence[Item]) -> list[Score]:
        done: asyncio.Future[list[Score]] = asyncio.get_running_loop().create_future()
        one = [str(x.completion) for x in items], done
        self.running.append(one)
        try:
            return await done
        finally:
            self.running.remove(one)


@dataclass
class Client:
    """One request as its client sees it, and what the model says of it."""

    widths: list[int]  # spaces before each item's text
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    heard: list[dict[str, Any]] = field(default_factory=list)
    status: int | None = None  # what the model says that it has heard; None while it waits
    left: bool = False
    open: set[int] = field(init=False)  # items that have no score yet

    def __post_init__(self) -> None:
        self.items = len(self.widths)
        self.open = set(range(self.items))

    @property
    def waits(self) -> bool:
        return self.status is None and not self.left


class ServerMachine(RuleBasedStateMachine):
    @initialize(lanes=st.integers(1, 2))
    def begin(self, lanes: int) -> None:
        self.loop, self.lanes = Clock(), Lanes(lanes)
        self.service = Service(LIMITS, [ScoreFormat(lambda: ABOUT), *FORMATS])
        self.app = application(self.service, local=True, token=None)
        self.loop.run_until_complete(self._open())
        self.clients, self.tasks = list[Client](), list[asyncio.Task[Any]]()
        self.queue, self.batches = list[Place](), list[list[Place]]()
        self.ends = False

    async def _open(self) -> None:
        self.service.open(self.lanes, ABOUT)

    def teardown(self) -> None:
        self.service.abandon()
        for client in self.clients:
            client.gone.set()
        self._settle()
        for task in self.tasks:
            task.result()  # nothing hangs, and nothing has failed unseen
        self.loop.close()

    def _settle(self) -> None:
        """Let everything happen that can, here and in the model."""
        for _ in range(60):
            self.loop.run_until_complete(asyncio.sleep(0))
        while len(self.batches) < self.lanes.n and (live := self._live()):
            # the oldest, and those that are nearest to it in length
            near = sorted(live, key=lambda p: abs(len(self._text(p)) - len(self._text(live[0]))))
            self.batches.append(near[:BATCH])
            self.queue = [p for p in live if p not in near[:BATCH]]

    def _text(self, place: Place) -> str:
        return " " * self.clients[place[0]].widths[place[1]] + f"{place[0]}.{place[1]}"

    def _live(self) -> list[Place]:
        return [p for p in self.queue if self.clients[p[0]].waits]

    def _ask(self, client: Client, body: bytes) -> None:
        sent = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            await client.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            client.heard.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/score",
            "raw_path": b"/v1/score",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        self.clients.append(client)
        self.tasks.append(self.loop.create_task(self.app(scope, receive, send)))  # type: ignore[arg-type]
        self._settle()

    @rule(widths=st.lists(st.integers(0, 9), max_size=ITEMS + 1))
    def another_request(self, widths: list[int]) -> None:
        """The same, so that it comes more often."""
        self.request(widths)

    @rule(widths=st.lists(st.integers(0, 9), max_size=ITEMS + 1))
    def request(self, widths: list[int]) -> None:
        me, client, items = len(self.clients), Client(widths), len(widths)
        texts = [" " * w + f"{me}.{k}" for k, w in enumerate(widths)]
        if items > ITEMS:
            client.status = 413
        elif items == 0:
            client.status = 200
        elif self.ends:
            client.status = 503
        elif len(self._live()) + items > QUEUE:
            client.status = 429
        else:
            self.queue = [*self._live(), *((me, k) for k in range(items))]
        body = {"prompts": ["p"] * items, "completions": texts, "ids": list(range(items))}
        self._ask(client, json.dumps(body).encode())

    @rule(body=st.sampled_from([b"{", b"[]", b'{"prompts": ["p"], "completions": []}', b"\xff"]))
    def malformed(self, body: bytes) -> None:
        self._ask(Client([], status=422), body)

    @precondition(lambda self: any(c.waits for c in self.clients))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([c for c in self.clients if c.waits]))
        client.left = True
        client.gone.set()
        self._settle()

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), how=st.sampled_from(["scored"] * 4 + ["error", "failed", "died"]))
    def batch_ends(self, data: st.DataObject, how: str) -> None:
        at = data.draw(st.integers(0, len(self.batches) - 1))
        batch, (texts, done) = self.batches.pop(at), self.lanes.running[at]
        for request, k in batch:
            client = self.clients[request]
            if client.waits and how in ("scored", "error"):
                client.open.discard(k)
                client.status = None if client.open else 200
            elif client.waits:
                client.status = 500 if how == "failed" else 503
        if how == "scored":
            done.set_result([Score(float(t), (float(t),), None, None) for t in texts])
        elif how == "error":
            done.set_result([Score(None, (None,), None, None, "no score") for _ in texts])
        else:
            done.set_exception(RuntimeError("a secret") if how == "failed" else Died("ended"))
        self._settle()

    @rule()
    def time_runs_out(self) -> None:
        for client in self.clients:
            client.status = 504 if client.waits else client.status
        self.loop.now += TIME + 1
        self._settle()

    @precondition(lambda self: not self.ends)
    @rule()
    def drain(self) -> None:
        """SIGTERM: what waits is scored, and nothing new is taken."""
        self.ends = True
        self.tasks.append(self.loop.create_task(self.service.close()))
        self._settle()

    @rule()
    def abandon(self) -> None:
        """The time for draining is over: everyone who waits hears it."""
        self.ends = True
        for client in self.clients:
            client.status = 503 if client.waits else client.status
        self.batches, self.queue = [], []
        self.service.abandon()
        self._settle()

    @invariant()
    def what_is_scored_is_what_the_model_says(self) -> None:
        running = [texts for texts, _ in self.lanes.running]
        assert running == [[self._text(p) for p in batch] for batch in self.batches]
        batcher = self.service.batcher
        assert batcher is not None and len(batcher.waiting) <= QUEUE
        waiting = [w.item.completion for w in batcher.waiting if not w.done.done()]
        assert waiting == [self._text(p) for p in self._live()]

    @invariant()
    def everyone_has_heard_exactly_what_the_model_says(self) -> None:
        for i, client in enumerate(self.clients):
            starts = [m for m in client.heard if m["type"] == "http.response.start"]
            assert [m["status"] for m in starts] == [client.status] * (client.status is not None)
            if not starts:
                assert not client.heard
                continue
            body = b"".join(m.get("body", b"") for m in client.heard)
            assert b"secret" not in body
            told, names = json.loads(body), dict(starts[0]["headers"])
            assert 1 <= int(names.get(b"retry-after", b"1")) <= 60
            if client.status != 200:
                assert told["error"]
                continue
            assert [r["id"] for r in told["results"]] == list(range(client.items))
            scored = [(k, r["score"]) for k, r in enumerate(told["results"]) if r["score"]]
            assert all(score == float(f"{i}.{k}") for k, score in scored)
            assert ("scores" in told) == all(r["error"] is None for r in told["results"])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_request_gets_its_own_answer_once(profile: hypothesis.settings) -> None:
    examples, steps = max(40, profile.max_examples), max(40, profile.stateful_step_count)
    many = hypothesis.settings(profile, max_examples=examples, stateful_step_count=steps)
    run_state_machine_as_test(ServerMachine, settings=many)
