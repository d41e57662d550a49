"""The server over real connections: its format, who is let in, its limits, its end."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serving
from prometheus_client.parser import text_string_to_metric_families
from serving import GATE, STARTED, body, client, half, length, post, raw

from assay.errors import InputError
from assay.rewards.http import reward_at
from assay.serve.log import JsonLines
from assay.serve.server import RewardServer

TOKEN = "a-token-of-more-than-16"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with RewardServer(length, half, spread_limit=2.0, max_items=64, max_body=0.05) as server:
        yield server.url


def test_every_item_has_its_members_its_status_and_its_id(url: str) -> None:
    ids = ["a", 2, None, "a"]
    with client(url) as c:
        found = c.post("/v1/score", json=body("four", "none", "raise", "1234567890", ids=ids))
        assert found.status_code == 200 and "scores" not in found.json()
        results = found.json()["results"]
        assert [r["id"] for r in results] == ids and [r["index"] for r in results] == [0, 1, 2, 3]
        assert [r["status"] for r in results] == ["ok", "not_applicable", "error", "ok"]
        assert [r["score"] for r in results] == [3.0, None, None, 7.5]
        assert [r["members"] for r in results][:2] == [[4.0, 2.0], [None, 2.0]]
        assert [r["out_of_distribution"] for r in results] == [False, None, None, True]
        assert "secret" not in found.text
        items = [{"id": "x", "prompt": "p", "completion": "12"}]
        one = c.post("/v1/score", json={"items": items}).json()
        assert one["scores"] == [1.5] and one["results"][0]["id"] == "x"
        assert c.post("/v1/score", json=body()).json()["scores"] == []


def test_assay_s_own_reward_of_an_address_reads_the_server(url: str) -> None:
    reward = reward_at(url + "/v1/score", "rewards", batch=3, tries=2, pause=0.01)
    texts = [str(10**n) for n in range(9)] + ["none"]
    found = reward.scores(["p"] * 10, texts, None, {"answer": list(range(10))})
    assert found[0, :9].tolist() == [0.75 * (n + 1) for n in range(9)] and found[0, 9].isnan()
    with pytest.raises(InputError, match="an error of completion 1: reward length could not"):
        reward.scores(["p", "p"], ["a", "raise"])


def test_a_wrong_path_or_method_says_where_scores_are(url: str) -> None:
    with client(url) as c:
        for path in ("/score", "/v1/score/"):
            found = c.post(path, json=body("a"))
            assert found.status_code == 404
            said = f"there is nothing at {path}; scores are at /v1/score, /get_reward"
            assert found.json()["error"].startswith(said)
        found = c.get("/v1/score")
        assert (found.status_code, found.headers["Allow"]) == (405, "POST")
        assert found.json() == {"error": "/v1/score takes POST, and not GET"}
    with pytest.raises(InputError, match="scores are at /v1/score"):
        reward_at(url + "/score", "rewards").scores(["p"], ["a"])


def test_the_bare_address_scores_as_v1_score_does(url: str) -> None:
    reward = reward_at(url, "rewards")
    assert reward.scores(["p", "p"], ["four", "1234567890"]).tolist() == [[3.0, 7.5]]
    with client(url) as c:
        sent = body("four", "none")
        assert c.post("/", json=sent).json() == c.post("/v1/score", json=sent).json()
        assert c.get("/").status_code == 405
        other = c.post("/", json={"query": ["four"], "prompts": ["p"]})
        assert other.status_code == 422 and "query" in other.json()["error"]


def test_what_is_no_request_is_refused_with_a_sentence(url: str) -> None:
    wrong = {
        b"{": "no JSON",
        b"[1]": "the body is a list",
        b"[" * 40_000: "nested too deeply",
        b'{"prompts": ["p"], "completions": [NaN]}': "NaN is no JSON number",
        b'{"prompts": ["p"], "completions": []}': "1 prompt and 0 completions",
        b'{"prompts": ["p"], "completions": [3]}': "completions[0] is a number",
        b'{"prompts": ["p"], "completions": ["c"], "column": {}}': "a key 'column'",
        b'{"prompts": ["p"], "completions": ["c"], "columns": {"a": []}}': "column 'a' has 0",
        b'{"prompts": ["p"], "completions": ["c"], "ids": [{}]}': "an id is an object",
        b'{"items": [{"prompt": "p", "completion": "c", "labels": 1}]}': "a key 'labels'",
        b'{"items": 3}': "items is a number",
        b"\xff\xfe": "no JSON",
        b"1" * 5000: "no JSON",
    }
    for sent, said in wrong.items():
        reply = raw(url, post(sent))
        assert serving.status(reply) == 422 and said in serving.told(reply)["error"], sent[:60]
    odd = json.dumps(body("four", ids=["\ud800"])).encode()
    assert serving.told(raw(url, post(odd)))["results"][0]["id"] == "\ud800"


def test_what_is_too_much_is_refused(url: str) -> None:
    with client(url) as c:
        assert c.post("/v1/score", json=body(*["x"] * 65)).status_code == 413
        assert c.post("/v1/score", json=body("x" * 60_000)).status_code == 413
        assert c.post("/v1/score", json=body("x" * 50_000)).status_code == 200
        zipped = c.post("/v1/score", content=b"x", headers={"Content-Encoding": "gzip"})
        assert zipped.status_code == 415
        assert c.get("/v1/score").status_code == 405 and c.get("/nowhere").status_code == 404
    huge = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert serving.status(raw(url, huge)) == 413
    part = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert serving.status(raw(url, part + (b"2710\r\n" + b"x" * 10_000 + b"\r\n") * 45)) == 413


def test_other_hosts_and_pages_of_other_origins_are_refused(url: str) -> None:
    text = json.dumps(body("four")).encode()
    own = url.removeprefix("http://")
    for host in ("evil.example", "127.0.0.1.evil.example", "evil.example:80", ""):
        assert serving.status(raw(url, post(text, host=host))) == 403
    for host in ("localhost", "localhost:1", "[::1]:9", own):
        assert serving.status(raw(url, post(text, host=host))) == 200
    for line, code in (
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        (f"Origin: http://{own}\r\n", 200),
    ):
        reply = raw(url, post(text, headers=line, host=own))
        assert serving.status(reply) == code
        assert b"access-control" not in reply.lower()


def test_health_models_and_metrics_tell_what_is_served(url: str) -> None:
    with client(url) as c:
        assert c.get("/health").json() == {"status": "ready"}
        about = c.get("/v1/models").json()["data"][0]
        assert about["members"] == ["length", "half"] and about["spread_limit"] == 2.0
        assert [r["kind"] for r in about["rewards"]] == ["function"] * 2
        before = counts(c.get("/metrics").text)
        c.post("/v1/score", json=body("a", "none", "raise"))
        c.post("/v1/score", content=b"{")
        c.get("/nowhere/1")
        after = counts(c.get("/metrics").text)
    new = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
    assert new["assay_items_total", "ok"] == new["assay_items_total", "error"] == 1
    assert new["assay_items_total", "not_applicable"] == 1
    assert new["assay_requests_total", "/v1/score 200"] == 1
    assert new["assay_requests_total", "/v1/score 422"] == 1
    assert new["assay_requests_total", "other 404"] == 1


def counts(text: str) -> dict[tuple[str, str], float]:
    """The counters of a page of metrics."""
    return {
        (s.name, " ".join(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name.endswith("_total")
    }


def test_a_token_is_needed_where_one_is_set(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with RewardServer(length, token_file=str(file)) as server, client(server.url) as c:
        assert c.get("/health").status_code == 200
        basic = base64.b64encode(f"any:{TOKEN}".encode()).decode()
        for value, code in {
            "": 401, TOKEN: 401, f"Bearer {TOKEN}": 200, f"bearer {TOKEN}": 200,
            f"Bearer {TOKEN[:-1]}": 401, "Bearer": 401, f"Basic {basic}": 200, "Basic ?": 401,
            "Bearer \udcff": 401,
        }.items():  # fmt: skip
            head = {"Authorization": value.encode("utf-8", "surrogateescape")}
            for path in ("/v1/models", "/metrics"):
                assert c.get(path, headers=head).status_code == code, value
            assert c.post("/v1/score", json=body("a"), headers=head).status_code == code, value


def test_a_full_queue_a_slow_reward_and_a_slow_client_have_their_answers() -> None:
    limits = {"max_batch": 1, "max_queue": 2, "max_items": 2, "timeout": 0.6, "max_wait": 0.0}
    with RewardServer(length, **limits) as server, client(server.url) as c:
        GATE.clear(), STARTED.clear()
        codes = list[int]()

        def ask() -> None:
            codes.append(c.post("/v1/score", json=body("a")).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        threads[0].start()
        STARTED.wait(10)
        [t.start() for t in threads[1:]]
        until = time.monotonic() + 5
        while len(server.service.batcher.waiting) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        full = c.post("/v1/score", json=body("a"))
        assert full.status_code == 429 and int(full.headers["Retry-After"]) >= 1
        [t.join() for t in threads]
        assert codes == [504] * 3
        GATE.set()
        assert c.post("/v1/score", json=body("abc")).json()["scores"] == [3.0]
        slow = b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{"
        assert serving.status(raw(server.url, slow)) == 408


def test_the_end_answers_what_was_taken_and_refuses_what_comes() -> None:
    with RewardServer(length) as server, client(server.url) as c:
        GATE.clear(), STARTED.clear()
        found = list[float]()
        thread = threading.Thread(
            target=lambda: found.extend(c.post("/v1/score", json=body("abcd")).json()["scores"])
        )
        thread.start()
        STARTED.wait(10)
        server.ask_to_stop()
        time.sleep(0.3)
        with client(server.url) as late, pytest.raises(Exception, match="refused"):
            late.get("/health")
        GATE.set()
        thread.join()
        assert found == [4.0] and server.wait()


def test_a_request_that_outlasts_the_drain_is_refused_in_our_own_words() -> None:
    with RewardServer(length, drain=0.1) as server, client(server.url) as c:
        GATE.clear(), STARTED.clear()
        found = list[Any]()
        thread = threading.Thread(
            target=lambda: found.append(c.post("/v1/score", json=body("abcd")))
        )
        thread.start()
        STARTED.wait(10)
        clean = server.stop()
        GATE.set()
        thread.join()
        assert not clean and found[0].status_code == 503 and "end" in found[0].json()["error"]


def test_a_head_without_end_is_not_kept(url: str) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 60_000) for i in range(40))
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s, contextlib.suppress(OSError):
        s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + lines)
        assert s.recv(1) == b""


def test_scores_are_refused_until_the_reward_is_loaded(tmp_path: Path) -> None:
    seen = list[int]()
    judge = tmp_path / "judge.py"
    judge.write_text("def score(prompts, completions): return [1.0] * len(prompts)\n")
    server = RewardServer(str(judge) + ":score")
    real = server._lanes

    def slowly() -> object:
        with client(server.url) as c:
            seen.append(c.get("/health").status_code)
            seen.append(c.post("/v1/score", json=body("a")).status_code)
            seen.append(c.get("/v1/models").status_code)
        return real()

    server._lanes = slowly
    with server, client(server.url) as c:
        assert seen == [503] * 3 and c.get("/health").status_code == 200
        assert len(c.get("/v1/models").json()["data"][0]["digest"]) == 64
    broken = RewardServer(str(tmp_path / "nowhere.py:score"))
    with pytest.raises(InputError, match="there is no file"):
        broken.start()


def test_the_log_tells_lengths_and_no_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "assay.serve")
    with RewardServer(length) as server, client(server.url) as c:
        id = c.post("/v1/score", json=body("a secret", "raise")).headers["x-request-id"]
    lines = [json.loads(JsonLines().format(r)) for r in caplog.records if r.name == "assay.serve"]
    line = next(x for x in lines if x.get("id") == id)
    assert (line["items"], line["prompt_chars"], line["completion_chars"]) == (2, 2, 13)
    assert line["status"] == 200 and line["failed"] == 1 and line["seconds"] > 0
    assert not any("a secret" in json.dumps(x) for x in lines if x["event"] == "request")
