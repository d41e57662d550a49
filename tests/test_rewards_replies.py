"""Replies of reward servers in the shapes of other projects, over HTTP and at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from answering import Quiet

from assay.core import InputError, PromptTexts
from assay.rewards.http import reward_at
from assay.rewards.replies import reply_scores
from assay.worlds.trial import try_rewards

ASKS, SAID = ["p", "q", "r"], ["a", "b b", "c c c"]
Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


class Server:
    """A server in a thread; `answer` makes a status and a body of a request."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer: Answer = lambda asked: (200, b"")
        outer = self

        class Handler(Quiet):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.asked.append(asked)
                self.send(*outer.answer(asked))

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/score"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def scores(self, reply: Any, code: int = 200, **settings: Any) -> list[float]:
        """The scores that a reward at this server gives."""
        raw = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.answer = lambda asked: (code, raw)
        reward = reward_at(self.url, "rewards", **{"pause": 0.001, "tries": 3, **settings})
        return reward.scores(ASKS, SAID)[0].nan_to_num(-1).tolist()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


def vllm(key: str, *values: Any) -> dict[str, Any]:
    data = [{"index": i, "object": key, key: v} for i, v in enumerate(values)]
    return {"id": "x-1", "object": "list", "model": "rm", "data": data, "usage": {}}


READ = [
    {"scores": [1.5, None, 3]},
    {"rewards": [1.5, None, 3], "scores": [0, 0, 0], "extra_logs": {"x": [1, 2, 3]}},
    {"rewards": [[1.5], [None], [3]]},
    {"score": [1.5, None, 3]},
    [1.5, None, 3],
    [{"score": 1.5}, {"score": None}, {"score": 3, "acc": 1}],
    vllm("score", 1.5, None, 3),
    vllm("probs", [1.5], [None], [3]),
    vllm("data", [1.5], [None], [3]),
    vllm("data", [[1.5]], [[None]], [[3]]),
    vllm("embedding", [1.5], [None], [3]),
    {"data": list(reversed(vllm("score", 1.5, None, 3)["data"]))},
    [[{"label": "LABEL_0", "score": s}] for s in (1.5, None, 3)],
    [{"label": "reward", "score": s} for s in (1.5, None, 3)],
]


@pytest.mark.parametrize("reply", READ, ids=lambda r: json.dumps(r)[:40])
def test_a_known_server_s_reply_is_read(reply: Any, server: Server) -> None:
    assert server.scores(reply) == [1.5, -1, 3]
    assert len(server.asked) == 1


REFUSED = [
    ({"result": [1, 2, 3]}, "an object of result"),
    ({"detail": "no query"}, "an object of detail .*no query"),
    ({}, "an object of nothing"),
    ({"scores": [1, 2]}, "2 scores"),
    ({"scores": 1.5}, "no list of 3 scores"),
    ({"rewards": "1 2 3"}, "no list of 3 scores"),
    ("ok", "no list of 3 scores"),
    (1.5, "no list of 3 scores"),
    ([[1, 2], [3, 4], [5, 6]], "2 numbers for one completion"),
    (vllm("probs", [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]), "2 numbers for one completion"),
    ([[{"label": "A", "score": 1}, {"label": "B", "score": 2}]] * 3, "2 numbers for one"),
    (
        [{"label": s, "score": 1} for s in ("bad", "good", "bad")],
        "scores of different labels, bad and good",
    ),
    ({"data": [{"index": 0, "score": 1}] * 3}, "indices that do not count the completions"),
    ([{"value": 1}] * 3, "entries of value"),
    (b"<html>\x1b[2J hello", "what is not JSON .<html> ?.2J hello"),
    (b"", "what is not JSON"),
    (b"[" * 100_000, "what is not JSON"),
]


@pytest.mark.parametrize(("reply", "said"), REFUSED)
def test_another_shape_is_refused_at_the_first_reply(reply: Any, said: str, server: Server) -> None:
    with pytest.raises(InputError, match=f"answered 3 completions with {said}") as caught:
        server.scores(reply)
    assert len(server.asked) == 1, "another try would be answered alike"
    told = str(caught.value)
    assert 'answer {"scores": [3 numbers]}, one per completion and null where' in told
    assert "give FILE.py:name" in told and told.isprintable() and len(told) < 400


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_a_server_that_fails_or_is_busy_is_tried_again(code: int, server: Server) -> None:
    with pytest.raises(InputError, match=f"no scores of 3 completions in 3 tries .HTTP {code}."):
        server.scores({"error": "x"}, code)
    assert len(server.asked) == 3


def test_a_server_of_another_protocol_is_told_what_is_sent(server: Server) -> None:
    for code, asked in ((400, 1), (422, 1), (500, 3)):
        server.asked.clear()
        with pytest.raises(
            InputError, match='assay posts {"prompts", "completions", "columns"}.*FILE.py:name'
        ):
            server.scores({"detail": [{"loc": ["body", "query"], "msg": "missing"}]}, code)
        assert len(server.asked) == asked
    assert set(server.asked[0]) == {"prompts", "completions", "columns"}


def test_the_label_of_a_server_s_scores_must_not_change_between_calls(server: Server) -> None:
    reward = reward_at(server.url, "rewards", batch=1, at_once=1)
    server.answer = lambda asked: (
        200,
        json.dumps(
            [{"label": "good" if "b" in asked["completions"][0] else "bad", "score": 1}]
        ).encode(),
    )
    with pytest.raises(InputError, match="scores of different labels, bad and good"):
        reward.scores(ASKS, SAID)


def test_one_completion_may_be_answered_by_one_number() -> None:
    assert reply_scores(1.5, 1) == [1.5] and reply_scores({"score": None}, 1) == [None]
    for several in (1.5, {"score": 1.5}):
        with pytest.raises(ValueError, match="no list of 2 scores"):
            reply_scores(several, 2)


def test_a_wrong_reply_fails_the_trial_call(server: Server) -> None:
    server.answer = lambda asked: (200, b'{"result": [1, 2]}')
    prompts = PromptTexts(str, ["2 + 2?"], [None], {})
    reward = reward_at(server.url, "rewards")
    with pytest.raises(
        InputError,
        match="--rewards failed in a trial call, .*answered 2 completions with an object of result",
    ):
        try_rewards([reward], "rewards", prompts, [0])
    assert len(server.asked) == 1
