"""A JSON client for LLM judges, reward servers and samplers: retries, a rate limit, no redirects.

It stands on httpx2, which is imported when the first request is made. A reply is data: it is
bounded in size, parsed as JSON, and nothing in it is evaluated.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
import urllib.parse
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from assay.data.http_faults import Garbled, Refused, Unavailable, on_one_line
from assay.errors import InputError

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger("assay")
RETRIED = (408, 409, 425, 429)  # status codes that are tried again, beside 500 and above
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_REPLY = 10  # timeouts: what comes byte by byte never waits for one
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says


class JsonClient:
    """Sends JSON to one server and reads JSON back. Several threads may share a client.

    Busy, slow and broken replies are tried again after a pause that doubles and is jittered, or
    that Retry-After names. Redirects are refused, because they would carry the key to another
    host. A loopback address bypasses every proxy; other addresses use the proxies of the
    environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).

    Args:
        url: The server's address, http or https.
        flag: The flag that named the address, for error messages.
        keys: Environment variables; the first that is set is sent as a bearer token. A key is
            never an argument.
        tries: Tries of one request in all.
        timeout: Seconds for connecting, and for each read and write; a reply's body may take ten
            times as many.
        pause: Seconds before the second try.
        rate: Requests a second at most; 0 for no limit.
        max_bytes: Bytes of a reply that are read.

    Raises:
        InputError: `url` is not an address, or holds a user name or a password.

    Example:
        >>> client = JsonClient("http://127.0.0.1:8000/v1", "watch", keys=("ASSAY_JUDGE_KEY",))
        >>> client.host
        '127.0.0.1:8000'
    """

    def __init__(
        self,
        url: str,
        flag: str,
        *,
        keys: Sequence[str] = (),
        tries: int = 6,
        timeout: float = 60.0,
        pause: float = 0.5,
        rate: float = 0.0,
        max_bytes: int = 1 << 20,
    ):
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is not a number
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https"):
            raise InputError(
                f"--{flag} is '{url}', and an address such as http://127.0.0.1:8000/v1 was expected"
            )
        if parts.username or parts.password:
            raise InputError(
                f"--{flag} holds a user name or a password for {host}, and the record keeps every "
                "address; leave them out"
                + (f" and set {' or '.join(keys)} in the environment" if keys else "")
            )
        self.url, self.flag, self.path = url, flag, parts.path
        self.host = host if port is None else f"{host}:{port}"
        self.keys, self.tries, self.timeout, self.pause = tuple(keys), tries, timeout, pause
        self.rate, self.max_bytes = rate, max_bytes
        self.loopback = host in LOOPBACK
        self.key = self._key()
        self._lock, self._next, self._warned = threading.Lock(), 0.0, False
        self._http: httpx2.Client | None = None

    def request(
        self,
        body: Any,
        what: str,
        read: Callable[[Any], Any] = lambda reply: reply,
        *,
        url: str = "",
        tried: Callable[[int], None] = lambda attempt: None,
        strict: bool = False,
    ) -> Any:
        """POST `body` as JSON, or GET where it is None; return what `read` makes of the reply.

        Args:
            body: What json.dumps takes.
            what: A name for the body in error messages.
            read: Turns the parsed reply into the result. A ValueError, KeyError, IndexError,
                TypeError or AttributeError from it means that the reply has another shape, and the
                request is tried again.
            url: Another address of the same server; the client's own if empty.
            tried: Called with 0, 1, … before each try.
            strict: Do not try again where a reply came whole and has another shape, because the
                server would answer so again.

        Returns:
            What `read` returned.

        Raises:
            Unavailable: The last try failed.
            Garbled: The last reply came whole and has another shape.
            Refused: The server refused, and another try would not help.
            TypeError, ValueError: JSON cannot hold `body`.
        """
        # ASCII: a lone surrogate in a completion is escaped
        content = None if body is None else json.dumps(body, allow_nan=False).encode("ascii")
        for attempt in range(self.tries):
            self._wait_for_turn()
            tried(attempt)
            try:
                return self._try_once(content, what, read, url or self.url)
            except Unavailable as why:
                if attempt + 1 == self.tries or (strict and isinstance(why, Garbled)):
                    raise
                self._warn(attempt, why)
                doubled = self.pause * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000)
                time.sleep(min(LONGEST_PAUSE, doubled if why.wait is None else why.wait))
        raise AssertionError("unreachable: tries is at least 1")

    def _key(self) -> str | None:
        """The first key that is set in the environment."""
        name = next((k for k in self.keys if os.environ.get(k)), None)
        if name is None:
            return None
        key = os.environ[name]
        if not (
            key.isascii() and key.isprintable()
        ):  # or an error would print the header, key and all
            raise InputError(
                f"{name} holds a line break or another character that an HTTP header cannot "
                "carry; set it again without"
            )
        return key

    def _client(self) -> httpx2.Client:
        """The connection pool, made at the first request and closed with this object."""
        import httpx2

        with self._lock:
            if self._http is None:
                limits = httpx2.Limits(max_connections=None)
                # a transport of its own uses no proxy of the environment
                direct = httpx2.HTTPTransport(limits=limits) if self.loopback else None
                try:
                    self._http = httpx2.Client(
                        timeout=self.timeout,
                        follow_redirects=False,
                        limits=limits,
                        transport=direct,
                        headers={
                            "User-Agent": "assay",
                            "Accept-Encoding": "identity",  # max_bytes bounds what is unpacked, too
                            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
                        },
                    )
                except (ValueError, ImportError, OSError) as why:
                    raise InputError(
                        f"--{self.flag}: {self.url} cannot be asked through the proxy or with the "
                        f"certificates that the environment names ({why}); change HTTP_PROXY, "
                        "HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE, or list the host in NO_PROXY"
                    ) from why
                weakref.finalize(self, self._http.close)
            return self._http

    def _try_once(
        self, content: bytes | None, what: str, read: Callable[[Any], Any], url: str
    ) -> Any:
        """One request and its reply."""
        import httpx2

        client = self._client()
        try:
            with client.stream(
                "GET" if content is None else "POST",
                url,
                content=content,
                headers={"Content-Type": "application/json"},
            ) as reply:
                ok = reply.status_code < 300
                raw = _beginning(reply, self.max_bytes if ok else 600, LONGEST_REPLY * self.timeout)
        except httpx2.TransportError as why:  # gone, slow, cut off, or not HTTP at all
            raise Unavailable(f"{type(why).__name__}: {why}"[:120]) from why
        except httpx2.InvalidURL as why:
            raise InputError(f"--{self.flag} is '{self.url}', which is no address: {why}") from why
        if not ok:
            raise self._failure(reply.status_code, reply.headers, raw, what, url)
        said, shape = on_one_line(raw[:120]), ""
        try:
            reply = json.loads(raw)
            shape = "another shape"
            return read(reply)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as why:
            if shape and isinstance(why, ValueError):
                shape = str(why)
            told = f"a reply that is no answer to {what}: {raw[:60]!r}"
            raise Garbled(told, said, shape) from why

    def _failure(
        self, code: int, headers: httpx2.Headers, raw: bytes, what: str, url: str
    ) -> Unavailable | Refused:
        """What a status above 299 means."""
        if code in RETRIED or code >= 500:
            return Unavailable(f"HTTP {code}", _seconds(headers.get("Retry-After")))
        cure = (
            f"set {' or '.join(self.keys)} in the environment"
            if code in (401, 403) and self.keys
            else "give the address that the server answers at"
            if code < 400 or code == 404
            else "see what the server says of it"
        )
        said = on_one_line(raw)
        return Refused(f"{url} refused {what} with HTTP {code} ({said[:120]}): {cure}", code, said)

    def _warn(self, attempt: int, why: Unavailable) -> None:
        """Say once that the server does not answer; the first failed try may be bad luck."""
        if attempt == 1 and not self._warned:
            self._warned = True
            log.warning("%s does not answer (%s): trying %d times", self.url, why, self.tries)

    def _wait_for_turn(self) -> None:
        """Sleep until the rate limit allows the next request."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._next = max(now, self._next + 1 / self.rate)
            wait = self._next - now
        time.sleep(wait)


def _beginning(reply: httpx2.Response, most: int, seconds: float) -> bytes:
    """The first `most` bytes of a reply's body as they came, never unpacked.

    Raises:
        Unavailable: They take longer than `seconds`.
    """
    raw, began = bytearray(), time.monotonic()
    for chunk in reply.iter_raw():
        raw += chunk
        if time.monotonic() - began > seconds:
            raise Unavailable(f"a reply that was not whole after {seconds:g} seconds")
        if len(raw) >= most:
            break
    return bytes(raw[:most])


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; None where it is absent or a date."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
