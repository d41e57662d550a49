"""One request and its reply within one deadline, whatever the server does.

The timeouts of an HTTP client are those of single reads: a server that sends a byte each half
second never exceeds them. So requests run on an event loop, in a thread of its own, and the whole
exchange (name lookup, connecting, TLS, headers, body) is cancelled at its deadline. That closes the
connection. Callers wait in their own threads, and several may share a pool of connections.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
REFUSAL = 600  # bytes that are read of a reply that refuses


class Reply(NamedTuple):
    """What a server answered.

    Attributes:
        code: The HTTP status.
        headers: Header fields.
        raw: The beginning of the body as it came, never unpacked.
        whole: Whether that is all of the body.
    """

    code: int
    headers: Mapping[str, str]
    raw: bytes
    whole: bool


class Exchange:
    """A pool of connections to servers, whose exchanges have deadlines.

    Args:
        headers: Header fields of all requests.
        direct: Whether to use no proxy of the environment.

    Raises:
        ValueError, ImportError, OSError: The environment names a proxy or certificates that cannot
            be used.
    """

    def __init__(self, headers: Mapping[str, str], *, direct: bool):
        import httpx2

        limits = httpx2.Limits(max_connections=None)
        # a transport of its own uses no proxy of the environment
        transport = httpx2.AsyncHTTPTransport(limits=limits) if direct else None
        self._client = httpx2.AsyncClient(
            timeout=None,
            follow_redirects=False,
            limits=limits,
            transport=transport,
            headers=dict(headers),
        )

        weakref.finalize(self, _close, self._client)

    def __call__(self, url: str, content: bytes | None, *, seconds: float, most: int) -> Reply:
        """POST content as JSON, or GET where it is None.

        Args:
            url: The address.
            content: The body.
            seconds: How long the exchange may take as a whole.
            most: Bytes of the reply's body that are read.

        Raises:
            TimeoutError: The exchange takes longer.
            httpx2.TransportError: The server is gone, cut off, or speaks no HTTP.
            httpx2.InvalidURL: The address is none.
        """
        return _run(self._reply(url, content, seconds, most))

    async def _reply(self, url: str, content: bytes | None, seconds: float, most: int) -> Reply:
        import httpx2

        head = {"Content-Type": "application/json"}
        # a handshake that is cancelled from outside would leave its socket open
        own = httpx2.Timeout(None, connect=0.9 * seconds)
        method = "GET" if content is None else "POST"
        async with (
            asyncio.timeout(seconds),
            self._client.stream(method, url, content=content, headers=head, timeout=own) as reply,
        ):
            code, raw, whole = reply.status_code, bytearray(), True
            limit = most if code < 300 else min(most, REFUSAL)
            async for chunk in reply.aiter_raw():
                raw += chunk
                if len(raw) > limit:
                    whole = False
                    break
            return Reply(code, reply.headers, bytes(raw[:limit]), whole)


_LOCK = threading.Lock()
_LOOPS: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a fork has no threads


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process, which runs in a daemon thread."""
    with _LOCK:
        if (found := _LOOPS.get(os.getpid())) is None:
            found = _LOOPS[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=found.run_forever, name="assay-http", daemon=True).start()
        return found


def _run(exchange: Coroutine[Any, Any, T]) -> T:
    """Wait in this thread for what the loop's thread does; an interruption cancels it."""
    waiting = asyncio.run_coroutine_threadsafe(exchange, _loop())
    try:
        return waiting.result()
    except concurrent.futures.CancelledError as why:
        raise TimeoutError from why
    except BaseException:
        waiting.cancel()
        raise


def _close(client: httpx2.AsyncClient) -> None:
    """Close the connections of an exchange that nobody holds any more."""
    loop = _LOOPS.get(os.getpid())
    if loop is not None and loop.is_running():
        asyncio.run_coroutine_threadsafe(client.aclose(), loop)


def seconds_of(text: str | None, most: float) -> float | None:
    """Retry-After in seconds: whole seconds or a date, as RFC 9110 has it.

    Args:
        text: The field; None where it is absent.
        most: The largest value that is returned.

    Returns:
        Seconds from now, from 0 to `most`; None where the field is absent or says anything else.

    Example:
        >>> [seconds_of(text, 60.0) for text in ("7", "9" * 400, "-1", "1e99", "nan", "soon", "")]
        [7.0, 60.0, None, None, None, None, None]
        >>> seconds_of("Wed, 21 Oct 2015 07:28:00 GMT", 60.0)
        0.0
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(most, float(text))  # of any length: infinity is the worst
    try:
        then = parsedate_to_datetime(text)
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return min(most, max(0.0, (then - datetime.now(UTC)).total_seconds()))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
