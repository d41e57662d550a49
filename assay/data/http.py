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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.data.http_exchange import Exchange, seconds_of
from assay.data.http_faults import Garbled, Refused, Unavailable, on_one_line
from assay.errors import InputError

log = logging.getLogger("assay")
RETRIED = (408, 409, 425, 429)  # status codes that are tried again, beside 500 and above
# of a reply that is no JSON or of another shape; an integer of 400 digits is no float
_SHAPES = (
    *(ValueError, KeyError, IndexError, TypeError),
    *(AttributeError, RecursionError, OverflowError),
)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says
PATIENCE = 300.0  # seconds for all tries of a request, or two timeouts where those are longer


def key_of(names: Sequence[str]) -> str | None:
    """The first key that is set in the environment.

    Args:
        names: Environment variables.

    Returns:
        The key; None where none is set.

    Raises:
        InputError: An HTTP header cannot carry it. The error of a client would print the key.
    """
    name = next((k for k in names if os.environ.get(k)), None)
    if name is None:
        return None
    key = os.environ[name]
    if not (key.isascii() and key.isprintable()):
        raise InputError(
            f"{name} holds a line break or another character that an HTTP header cannot "
            "carry; set it again without"
        )
    return key


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
        timeout: Seconds that one try may take as a whole, from connecting to the reply's last byte.
        patience: Seconds that all tries of one request may take, with the pauses between them; by
            default 300, or two timeouts where those are longer.
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
        patience: float | None = None,
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
        self.patience = max(PATIENCE, 2 * timeout) if patience is None else patience
        self.loopback = host in LOOPBACK
        self.key = key_of(self.keys)
        self._lock, self._next, self._warned = threading.Lock(), 0.0, False
        self._http: Exchange | None = None

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
                TypeError, AttributeError or OverflowError from it means that the reply has another
                shape, and the request is tried again.
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
        end = float("inf")
        for attempt in range(self.tries):
            self._wait_for_turn()
            end = min(end, time.monotonic() + self.patience)  # waiting for a turn is no try
            tried(attempt)
            try:
                left = max(0.0, end - time.monotonic())
                return self._try_once(content, what, read, url or self.url, left)
            except Unavailable as why:
                doubled = self.pause * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000)
                pause = min(LONGEST_PAUSE, doubled if why.wait is None else why.wait)
                over = attempt + 1 == self.tries or time.monotonic() + pause >= end
                if over or (strict and isinstance(why, Garbled)):
                    raise
                self._warn(attempt, why)
                time.sleep(pause)
        raise AssertionError("unreachable: tries is at least 1")

    def _exchange(self) -> Exchange:
        """The pool of connections, made at the first request and closed with this object."""
        with self._lock:
            if self._http is None:
                headers = {
                    "User-Agent": "assay",
                    "Accept-Encoding": "identity",  # max_bytes bounds what is unpacked, too
                    **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
                }
                try:
                    self._http = Exchange(headers, direct=self.loopback)
                except (ValueError, ImportError, OSError) as why:
                    raise InputError(
                        f"--{self.flag}: {self.url} cannot be asked through the proxy or with the "
                        f"certificates that the environment names ({why}); change HTTP_PROXY, "
                        "HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE, or list the host in NO_PROXY"
                    ) from why
            return self._http

    def _try_once(
        self,
        content: bytes | None,
        what: str,
        read: Callable[[Any], Any],
        url: str,
        left: float,
    ) -> Any:
        """One request and its reply, in `left` seconds at most."""
        exchange, seconds = self._exchange(), min(self.timeout, left)
        import httpx2

        try:
            code, headers, raw, whole = exchange(url, content, seconds=seconds, most=self.max_bytes)
        except (TimeoutError, httpx2.TimeoutException) as why:
            raise Unavailable(f"no whole reply in {seconds:g} seconds") from why
        except httpx2.TransportError as why:  # gone, cut off, or not HTTP at all
            more = f": {why}" if str(why) else ""
            said = on_one_line(f"{type(why).__name__}{more}".encode()[:120])
            raise Unavailable(said) from why
        except httpx2.InvalidURL as why:
            raise InputError(f"--{self.flag} is '{self.url}', which is no address: {why}") from why
        if code >= 300:
            raise self._failure(code, headers, raw, what, url)
        said, shape = on_one_line(raw[:120]), ""
        try:
            reply = json.loads(raw)
            shape = "another shape"
            return read(reply)
        except _SHAPES as why:
            if shape and isinstance(why, ValueError):
                shape = str(why)
            told = f"a reply that is no answer to {what}: {said[:60]!r}"
            if not whole:
                shape = f"more than {self.max_bytes:,} bytes"
                told = f"a reply of {shape}: {said[:60]!r} …"
            raise Garbled(told, said, shape) from why

    def _failure(
        self, code: int, headers: Mapping[str, str], raw: bytes, what: str, url: str
    ) -> Unavailable | Refused:
        """What a status above 299 means."""
        if code in RETRIED or code >= 500:
            wait = seconds_of(headers.get("Retry-After"), LONGEST_PAUSE)
            return Unavailable(f"HTTP {code}", wait, on_one_line(raw))
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
