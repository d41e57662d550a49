"""assay's clients of a reward server inside other trainers: scores by place, None for what has
none, one deadline whatever the server does, and no reward invented.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from assay.errors import InputError
from assay.interop.reward_client import RewardClient, Unanswered
from assay.interop.trl import AsyncServedReward, ServedReward
from assay.interop.verl import compute_score
from assay.serve.server import RewardServer

Handle = Callable[[BaseHTTPRequestHandler, Any, int], None]


class Scripted:
    """A server that does with each request what a test says; it keeps what came."""

    def __init__(self, handle: Handle):
        outer, self.bodies, self.heads = self, list[Any](), list[Any]()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Nothing."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.heads.append(dict(self.headers))
                handle(self, body, len(outer.bodies))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


def send(to: BaseHTTPRequestHandler, code: int, body: Any, **headers: str) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    to.send_response(code)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), value)
    to.send_header("Content-Length", str(len(raw)))
    to.end_headers()
    to.wfile.write(raw)


def long(body: Any) -> Any:
    """An answer of the right form: the completion's length; "?" is an error, "" does not apply."""
    rows = []
    for said in body["completions"]:
        status = {"?": "error", "": "not_applicable"}.get(said, "ok")
        score = float(len(said)) if status == "ok" else None
        rows.append({"status": status, "score": score, "error": "no idea" if said == "?" else None})
    return {"results": rows}


@pytest.fixture
def scripted() -> Iterator[Callable[[Handle], Scripted]]:
    made: list[Scripted] = []

    def make(handle: Handle) -> Scripted:
        made.append(Scripted(handle))
        return made[-1]

    yield make
    for one in made:
        one.http.shutdown()
        one.http.server_close()


def label(completions: list[str], label: list[str], **_: Any) -> list[float | None]:
    return [
        None if known == "" else float(said == known)
        for said, known in zip(completions, label, strict=True)
    ]


@pytest.fixture(scope="module")
def server() -> Iterator[RewardServer]:
    with RewardServer(label, log_requests=False, max_wait=1.0) as it:
        yield it


def called(reward: Any, *args: Any, **columns: Any) -> Any:
    found = reward(*args, **columns)
    return asyncio.run(found) if asyncio.iscoroutine(found) else found


@pytest.mark.parametrize("kind", [ServedReward, AsyncServedReward])
def test_scores_come_back_in_order_from_many_requests_with_the_columns(
    server: RewardServer, kind: Any
) -> None:
    reward = kind(server.url, batch=3, name="mine")
    said = [f"w{i}" for i in range(10)]
    known = [f"w{i}" if i % 2 else "" if i == 4 else "other" for i in range(10)]
    more = {"trainer_state": object(), "completion_ids": [[1]] * 10, "image": [object()] * 10}
    found = called(reward, ["p"] * 10, said, label=known, **more)
    assert found == [None if i == 4 else float(i % 2) for i in range(10)]
    assert reward.__name__ == "mine"


def test_a_column_named_messages_is_not_sent_and_a_missing_one_is_told(
    server: RewardServer,
) -> None:
    """The server takes the first for a name of its own and would refuse every completion."""
    assert ServedReward(server.url)(["p"], ["a"], label=["a"], messages=["m"]) == [1.0]
    with pytest.raises(InputError, match="column 'answer'"):
        ServedReward(server.url, columns=["answer"])(["p"], ["a"], label=["a"])


def test_it_can_be_called_where_an_event_loop_runs(server: RewardServer) -> None:
    async def notebook() -> Any:
        return ServedReward(server.url)(["p"], ["a"], label=["a"])

    assert asyncio.run(notebook()) == [1.0]


def test_a_reward_can_be_pickled_and_the_token_does_not_travel(
    scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_REWARD_KEY", "a-secret-token")
    there = scripted(lambda to, body, n: send(to, 200, long(body)))
    for kind in (ServedReward, AsyncServedReward):
        raw = pickle.dumps(kind(there.url))
        assert b"a-secret-token" not in raw
        assert called(pickle.loads(raw), ["p"], ["four"]) == [4.0]  # noqa: S301
        assert there.heads[-1]["Authorization"] == "Bearer a-secret-token"


def test_an_item_without_a_score_is_none_and_the_others_keep_theirs(
    scripted: Any, caplog: pytest.LogCaptureFixture
) -> None:
    there, logged = scripted(lambda to, body, n: send(to, 200, long(body))), {}
    said = ["a", "?", "", "four"]
    found = ServedReward(there.url)(["p"] * 4, said, log_metric=logged.__setitem__)
    assert found == [1.0, None, None, 4.0]
    assert "1 completion of 4 could not be scored: no idea" in caplog.text and logged == {}


def test_a_busy_server_is_asked_again_after_the_time_it_names(scripted: Any) -> None:
    def busy(to: Any, body: Any, n: int) -> None:
        if n == 1:
            return send(to, 429, {"error": "full"}, Retry_After="1")
        if n == 2:
            return send(to, 503, {"error": "loading"})
        return send(to, 200, long(body))

    there, began = scripted(busy), time.monotonic()
    assert ServedReward(there.url, pause=0.01)(["p"], ["four"]) == [4.0]
    assert len(there.bodies) == 3 and 1.0 <= time.monotonic() - began < 5


@pytest.mark.parametrize("how", ["drip", "silent", "busy"])
def test_the_deadline_is_of_the_whole_call(scripted: Any, how: str) -> None:
    def handle(to: Any, body: Any, n: int) -> None:
        if how == "busy":
            return send(to, 503, {}, Retry_After="30")
        if how == "drip":
            to.send_response(200)
            to.end_headers()
        for _ in range(40):
            time.sleep(0.1)
            if how == "drip":
                try:
                    to.wfile.write(b" ")
                except OSError:
                    return None
        return None

    there = scripted(handle)
    reward, began = ServedReward(there.url, timeout=0.8, patience=1), time.monotonic()
    assert reward(["p"], ["four"]) == [None]
    with pytest.raises(Unanswered, match=r"no answer in 0\.8 seconds"):
        reward(["p"], ["four"])
    assert time.monotonic() - began < 3.5


def test_a_server_that_is_gone_is_none_a_few_times_and_then_an_error() -> None:
    reward = ServedReward("http://127.0.0.1:9", tries=2, pause=0.01, patience=2)
    assert [reward(["p"], ["a"]) for _ in range(2)] == [[None], [None]]
    with pytest.raises(Unanswered, match=r"no answer in 2 tries \(ConnectError"):
        reward(["p"], ["a"])


@pytest.mark.parametrize(
    ("code", "body", "sentence"),
    [
        (422, {"error": "bad\x1b[2J body"}, r"HTTP 422: .*bad"),
        (401, {}, "HTTP 401"),
        (302, {}, "HTTP 302"),
        (200, {"scores": [1.0]}, "no answer of assay's /v1/score"),
        (200, b'{"results": [{"status": "ok", "score": NaN}]}', "no answer of assay's"),
        (200, {"results": []}, "answered 0 of 1 completions"),
        (200, b"[" * 100_000, "no answer of assay's"),
    ],
)
def test_what_another_try_would_not_help_is_an_error_at_once(
    scripted: Any, code: int, body: Any, sentence: str
) -> None:
    there = scripted(lambda to, _, n: send(to, code, body))
    with pytest.raises(InputError, match=sentence) as why:
        ServedReward(there.url)(["p"], ["a"])
    assert len(there.bodies) == 1 and "\x1b" not in str(why.value)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://me:4711@a", "http://"])
def test_an_address_that_is_none_is_refused_when_the_reward_is_made(url: str) -> None:
    with pytest.raises(InputError) as why:
        RewardClient(url)
    assert "4711" not in str(why.value)


def test_verl_s_function_scores_many_completions_at_once() -> None:
    import numpy as np

    async def many(url: str) -> list[Any]:
        infos = [{"prompt": "p", "n": np.int64(i), "image": object()} for i in range(5)]
        return await asyncio.gather(*(compute_score("d", "a", "a", x, url=url) for x in infos))

    with RewardServer(verl_s, log_requests=False) as there:
        assert asyncio.run(many(there.url)) == [{"score": 1.0 + i} for i in range(5)]


def verl_s(
    completions: list[str], ground_truth: list[str], extra_info: list[Any], **_: Any
) -> list[float]:
    """Correct, and one more for each n of verl's extra_info."""
    both = zip(completions, ground_truth, extra_info, strict=True)
    return [float(said == known) + info["n"] for said, known, info in both]


def test_verl_s_function_raises_where_there_is_no_score(scripted: Any) -> None:
    there = scripted(lambda to, body, n: send(to, 200, long(body)))
    for said, why in (("?", "no idea"), ("", "does not apply")):
        with pytest.raises(Unanswered, match=why):
            asyncio.run(compute_score("d", said, None, {"prompt": "p"}, url=there.url))
    with pytest.raises(InputError, match="extra_info has no 'question'"):
        asyncio.run(compute_score("d", "a", None, {}, url=there.url, prompt_key="question"))
    with pytest.raises(InputError, match="needs the server's address"):
        asyncio.run(compute_score("d", "a", None, {}))
