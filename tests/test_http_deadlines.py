"""A server may do what it likes with a socket: each exchange ends at its deadline, and is small."""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from assay.data.http import JsonClient
from assay.data.http_faults import Refused, Unavailable
from assay.errors import InputError
from assay.rewards.http import reward_at

Act = Callable[[socket.socket], None]
SECONDS = 0.5  # the deadline of one try
LATE = 10.0  # by then a busy machine has noticed it, too
OK = b"HTTP/1.1 200 OK\r\n"


def drip(first: bytes, byte: bytes = b" ") -> Act:
    """Send a beginning, and then a byte each tenth of a second for as long as anybody listens."""

    def act(peer: socket.socket) -> None:
        peer.sendall(first)
        while True:
            peer.sendall(byte)
            time.sleep(0.1)

    return act


def flood(first: bytes, chunk: bytes) -> Act:
    def act(peer: socket.socket) -> None:
        peer.sendall(first)
        while True:
            peer.sendall(chunk)

    return act


def say(raw: bytes) -> Act:
    return lambda peer: peer.sendall(raw)


def half_closed(peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_WR)
    time.sleep(30)


HANGS: dict[str, Act] = {
    "says nothing": lambda peer: time.sleep(30),
    "drips its status": drip(b"HTTP/1.1 200", b"x"),
    "drips headers": drip(OK + b"X: ", b"x"),
    "drips many headers": drip(OK, b"X-A: b\r\n"),
    "drips a body": drip(OK + b"Content-Length: 100000\r\n\r\n"),
    "drips chunks": drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "continues without end": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "says less than it announced": lambda peer: (
        peer.sendall(OK + b"Content-Length: 100\r\n\r\n{}"),  # type: ignore[func-returns-value]
        time.sleep(30),
    )[1],
}
BROKEN = "RemoteProtocolError|ReadError"  # as the timing has it
ENDS: dict[str, tuple[Act, str]] = {
    "closes at once": (lambda peer: None, "RemoteProtocolError|ReadError"),
    "closes its half": (half_closed, "RemoteProtocolError|ReadError"),
    "speaks no HTTP": (say(b"\x16\x03\x01\x02\x00\x1b[2Jno\r\n\r\n"), "RemoteProtocolError"),
    "has a length of words": (say(OK + b"Content-Length: many\r\n\r\n{}"), "RemoteProtocolError"),
    "has a length below 0": (say(OK + b"Content-Length: -1\r\n\r\n{}"), "RemoteProtocolError"),
    "has two lengths": (
        say(OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
        "RemoteProtocolError",
    ),
    "cuts its body": (say(OK + b"Content-Length: 100\r\n\r\n{}"), BROKEN),
    "floods headers": (flood(OK, b"X-A: " + b"b" * 1000 + b"\r\n"), "RemoteProtocolError"),
    "floods a body": (
        flood(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"[" * 1024 + b"\r\n"),
        "a reply of more than 1,000 bytes",
    ),
    "sends a bomb": (
        say(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b" " * (1 << 20))),
        "more than 1,000 bytes|no answer",
    ),
}


class Server:
    """Accepts connections, reads the request's head, and acts."""

    def __init__(self, act: Act):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/score"
        self.heads: list[bytes] = []
        threading.Thread(target=self._accept, args=(act,), daemon=True).start()

    def _accept(self, act: Act) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(peer, act), daemon=True).start()

    def _serve(self, peer: socket.socket, act: Act) -> None:
        with suppress(OSError), peer:
            raw = peer.recv(65536)
            head, _, body = raw.partition(b"\r\n\r\n")
            said = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            # who closes with bytes unread resets the connection, and the reply may be lost
            while said is not None and len(body) < int(said[1]) and (more := peer.recv(65536)):
                body += more
            self.heads.append(head)
            act(peer)


@pytest.fixture
def start() -> Iterator[Callable[[Act], Server]]:
    begun: list[Server] = []

    def begin(act: Act) -> Server:
        begun.append(Server(act))
        return begun[-1]

    yield begin
    for server in begun:
        server.listener.close()


def ask(url: str, **settings: float) -> None:
    how = {"tries": 1, "timeout": SECONDS, "pause": 0.01, "max_bytes": 1000, **settings}
    JsonClient(url, "rewards", **how).request({"a": 1}, "a question")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", HANGS)
def test_a_server_that_never_ends_is_left_at_the_deadline(
    kind: str, start: Callable[[Act], Server]
) -> None:
    server, began = start(HANGS[kind]), time.monotonic()
    with pytest.raises(Unavailable, match=r"no whole reply in 0\.5 seconds"):
        ask(server.url)
    assert SECONDS <= time.monotonic() - began < LATE


def test_a_server_that_never_accepts_is_left_at_the_deadline() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="no whole reply in"):
            ask(f"http://127.0.0.1:{address[1]}/score")
        assert time.monotonic() - began < LATE
        for one in waiting:
            one.close()


@pytest.mark.parametrize("act", [HANGS["says nothing"], drip(b"\x16\x03\x03\x40\x00", b"x")])
def test_a_handshake_has_the_same_deadline(act: Act, start: Callable[[Act], Server]) -> None:
    server, began = start(act), time.monotonic()
    with pytest.raises(Unavailable, match="no whole reply in|ConnectError"):
        ask(server.url.replace("http:", "https:"))
    assert time.monotonic() - began < LATE


@pytest.mark.parametrize("kind", ENDS)
def test_a_broken_reply_is_one_short_printable_clause(
    kind: str, start: Callable[[Act], Server]
) -> None:
    act, said = ENDS[kind]
    with pytest.raises(Unavailable, match=said) as caught:
        ask(start(act).url, timeout=5)
    assert len(str(caught.value)) < 160 and str(caught.value).isprintable()


def test_all_tries_have_one_deadline(start: Callable[[Act], Server]) -> None:
    server, began = start(HANGS["drips a body"]), time.monotonic()
    with pytest.raises(Unavailable):
        ask(server.url, tries=100, timeout=0.3, patience=1.0)
    assert time.monotonic() - began < 1 + LATE and 2 <= len(server.heads) <= 4


@pytest.mark.parametrize("wait", ["30", "9" * 30, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_pause_beyond_the_deadline_is_not_waited_for(
    wait: str, start: Callable[[Act], Server]
) -> None:
    head = f"HTTP/1.1 503 Busy\r\nRetry-After: {wait}\r\nContent-Length: 0\r\n\r\n"
    server, began = start(say(head.encode())), time.monotonic()
    with pytest.raises(Unavailable, match="HTTP 503"):
        ask(server.url, tries=6, patience=5)
    assert time.monotonic() - began < LATE and len(server.heads) == 1


@pytest.mark.parametrize("wait", ["-1", "1e99", "nan", "inf", "0x7", "soon", "1.5", "٣", ""])
def test_a_pause_that_is_no_number_is_the_client_s_own(
    wait: str, start: Callable[[Act], Server]
) -> None:
    head = f"HTTP/1.1 429 Busy\r\nRetry-After: {wait}\r\nContent-Length: 0\r\n\r\n"
    server, began = start(say(head.encode())), time.monotonic()
    with pytest.raises(Unavailable, match="HTTP 429"):
        ask(server.url, tries=3)
    assert time.monotonic() - began < LATE and len(server.heads) == 3


def test_a_redirect_is_not_followed_and_takes_no_key_along(
    start: Callable[[Act], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_REWARD_KEY", "s3cret")
    other = start(say(OK + b"Content-Length: 2\r\n\r\n{}"))
    to = f"HTTP/1.1 307 Moved\r\nLocation: {other.url}\r\nContent-Length: 0\r\n\r\n"
    first = start(say(to.encode()))
    with pytest.raises(Refused, match="HTTP 307") as caught:
        JsonClient(first.url, "rewards", keys=("ASSAY_REWARD_KEY",)).request({}, "a question")
    assert b"s3cret" in first.heads[0] and other.heads == [] and "s3cret" not in str(caught.value)


def test_a_body_longer_than_announced_is_cut(start: Callable[[Act], Server]) -> None:
    raw = json.dumps({"scores": [1]}).encode()
    server = start(say(OK + b"Content-Length: %d\r\n\r\n" % len(raw) + raw + b"]]]] HTTP/1.1 500"))
    client = JsonClient(server.url, "rewards", tries=1)
    for _ in range(2):  # what was left over is no part of the next reply
        assert client.request({}, "a question") == {"scores": [1]}


def test_a_reward_server_has_the_time_that_its_flag_says(start: Callable[[Act], Server]) -> None:
    reward = reward_at(start(HANGS["drips headers"]).url, "rewards", timeout=0.3, tries=2, pause=0)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"gave no scores .* \(no whole reply in 0\.3 seconds\)"):
        reward.scores(["p"], ["a"])
    assert time.monotonic() - began < 0.6 + LATE
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--reward-timeout is"):
            reward_at("http://127.0.0.1:9", "rewards", timeout=bad)
