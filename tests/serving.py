"""What the tests of the reward server share: rewards that wait for them, and raw requests."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import httpx2

GATE = threading.Event()  # set: scoring goes on
GATE.set()
STARTED = threading.Event()  # a batch is being scored


def length(prompts: list[str], completions: list[str], **columns: Any) -> list[float | None]:
    """The length of a text; None for "none", an error for "raise"."""
    STARTED.set()
    GATE.wait(20)
    if "raise" in completions:
        raise KeyError("a secret of the server")
    return [None if c == "none" else float(len(c)) for c in completions]


def half(prompts: list[str], completions: list[str]) -> list[float]:
    """Half the length of a text."""
    return [len(c) / 2 for c in completions]


def body(*completions: str, **more: Any) -> dict[str, Any]:
    """A request of assay's own format."""
    return {"prompts": ["p"] * len(completions), "completions": list(completions), **more}


def client(url: str, **settings: Any) -> httpx2.Client:
    """A client that uses no proxy."""
    return httpx2.Client(base_url=url, trust_env=False, timeout=30, **settings)


def raw(url: str, text: bytes, *, wait: float = 10) -> bytes:
    """Send bytes and read all that comes back until the server closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as s:
        s.sendall(text)
        found = bytearray()
        while chunk := s.recv(65536):
            found += chunk
    return bytes(found)


def post(content: bytes, *, headers: str = "", host: str = "127.0.0.1", path: str = "") -> bytes:
    """A whole request as bytes, after which the server is to close the connection."""
    head = f"POST {path or '/v1/score'} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
    size = f"Content-Length: {len(content)}\r\n"
    return (head + headers + size + "\r\n").encode() + content


def status(reply: bytes) -> int:
    """The status of a raw reply."""
    return int(reply[9:12])


def told(reply: bytes) -> Any:
    """The JSON of a raw reply."""
    return json.loads(reply.partition(b"\r\n\r\n")[2])
