"""JSON to a server and back: tries with growing pauses, a rate, no redirects, refusals in one
sentence. Standard library only.

What comes back is data: it is parsed as JSON, bounded in size, and nothing of it is ever evaluated.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import secrets
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

from assay.errors import InputError

log = logging.getLogger("assay")
BUSY = (408, 409, 425, 429)  # and whatever is 500 or above: worth another try


class Again(Exception):
    """Worth another try: the server was busy, slow, gone or garbled. `wait`: how long it asked for."""

    def __init__(self, why: str, wait: float | None = None):
        super().__init__(why)
        self.wait = wait


class Refused(InputError):
    """The server will not do it, however often it is asked: `code` is its status, `said` the
    beginning of what it wrote.
    """

    def __init__(self, sentence: str, code: int, said: str):
        super().__init__(sentence)
        self.code, self.said = code, said


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Remote:
    """An address that takes JSON and returns JSON. Safe to be called from several threads.

    Busy, slow and broken replies are asked again, `tries` in all, with a pause that doubles and is
    jittered, or as long as Retry-After says. `rate`: calls a second at most, 0 for no limit.
    `keys`: environment variables, the first that is set is sent as a bearer token; a key is never
    an argument. `most`: bytes of a reply that are read. Raises InputError, naming `flag`, for what
    is no address.
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
        most: int = 1 << 20,
    ):
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # a port that is no number
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https"):
            raise InputError(
                f"--{flag} is '{url}', and an address such as http://127.0.0.1:8000/v1 was expected"
            )
        self.url, self.host, self.path = url, host if port is None else f"{host}:{port}", parts.path
        self.keys, self.tries, self.timeout, self.pause = tuple(keys), tries, timeout, pause
        self.rate, self.most = rate, most
        self.key = next((os.environ[k] for k in self.keys if os.environ.get(k)), None)
        local = host in ("localhost", "127.0.0.1", "::1")
        self._open = urllib.request.build_opener(
            _NoRedirect, *([urllib.request.ProxyHandler({})] if local else [])
        ).open
        self._lock, self._next, self._slow = threading.Lock(), 0.0, False

    def ask(
        self,
        body: Any,
        what: str,
        read: Callable[[Any], Any] = lambda said: said,
        *,
        url: str = "",
        tried: Callable[[int], None] = lambda attempt: None,
    ) -> Any:
        """POST `body` (GET where it is None) and return what `read` makes of the reply's JSON.

        `what` names the body in a sentence. A reply of which `read` raises ValueError, KeyError,
        IndexError, TypeError or AttributeError is of another shape, and asked for again.
        `tried(attempt)` is called before each try. Raises Again when the last try failed, Refused
        for what no further try would mend, TypeError or ValueError for a body that JSON cannot say.
        """
        data = (
            None if body is None else json.dumps(body, allow_nan=False).encode("ascii")
        )  # lone surrogates are escaped
        for attempt in range(self.tries):
            self._turn()
            tried(attempt)
            try:
                return self._once(data, what, read, url or self.url)
            except Again as why:
                if attempt + 1 == self.tries:
                    raise
                if (
                    attempt == 1 and not self._slow
                ):  # the first try may be bad luck, and six slow ones are minutes of silence
                    self._slow = True
                    log.warning(
                        "%s does not answer (%s): asked again, %d times in all",
                        self.url,
                        why,
                        self.tries,
                    )
                doubled = self.pause * 2**attempt * (0.5 + secrets.randbelow(1000) / 1000)
                time.sleep(min(60.0, why.wait if why.wait is not None else doubled))
        raise AssertionError("unreachable: tries is at least 1")

    def _once(self, data: bytes | None, what: str, read: Callable[[Any], Any], url: str) -> Any:
        heads = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        }
        try:
            with self._open(
                urllib.request.Request(url, data, heads), timeout=self.timeout
            ) as reply:
                raw = reply.read(self.most)
        except urllib.error.HTTPError as why:
            said = _beginning(why)
            if why.code in BUSY or why.code >= 500:
                raise Again(f"HTTP {why.code}", _seconds(why.headers.get("Retry-After"))) from why
            cure = (
                f"set {' or '.join(self.keys)} in the environment"
                if why.code in (401, 403) and self.keys
                else "give the address that the server answers at"
                if why.code in (301, 302, 303, 307, 308, 404)
                else "see what the server says of it"
            )
            raise Refused(
                f"{url} refused {what} with HTTP {why.code} ({said[:120]}): {cure}", why.code, said
            ) from why
        except (
            OSError,
            http.client.HTTPException,
        ) as why:  # gone, slow, cut off, or not HTTP at all
            raise Again(f"{type(why).__name__}: {why}"[:120]) from why
        try:
            return read(json.loads(raw))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as why:
            raise Again(f"a reply that is no answer to {what}: {raw[:60]!r}") from why

    def _turn(self) -> None:
        """Wait for this call's turn under the rate limit."""
        if not self.rate:
            return
        with self._lock:
            now = time.monotonic()
            self._next = max(now, self._next + 1 / self.rate)
            wait = self._next - now
        time.sleep(wait)


def _beginning(reply: urllib.error.HTTPError) -> str:
    """What a refusal says, on one line and without control characters: it is printed on a terminal."""
    try:
        raw = reply.read(600)
    except (OSError, http.client.HTTPException):
        return "and broke off"
    finally:
        reply.close()
    return "".join(c if c.isprintable() else " " for c in raw.decode("utf-8", "replace"))


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds, None where it is absent or a date."""
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
