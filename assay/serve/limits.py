"""Who is let in and how much is read: hosts, origins, the token, sizes of bodies.

A server on a loopback address can be reached by any page in a browser on this machine, by DNS
rebinding too. So it answers requests to names of this machine alone, and none that a page of
another origin sends. On other addresses a token is required, which a page does not have.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from assay.errors import InputError
from assay.serve.config import ServeConfig, is_loopback

TOKEN = "ASSAY_TOKEN"  # an environment variable; a token is never an argument
SHORTEST = 16  # characters of a token
# A body too long is read and forgotten up to this many times the limit, because many clients see a
# broken connection, and no answer, where a server closes it while they send.
DISCARDED = 8
OPEN = ("/health",)  # what is answered without a token


class Json(JSONResponse):
    """A JSON answer in ASCII: ids and names may hold lone surrogates, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class Refusal(Exception):
    """A request is refused.

    Args:
        status: The HTTP status.
        said: Why, in one sentence.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, said: str, headers: Mapping[str, str] | None = None):
        super().__init__(said)
        self.status, self.said, self.headers = status, said, dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        return Json({"error": self.said}, self.status, self.headers)


def token_of(config: ServeConfig) -> str | None:
    """The token that requests must carry; None where none is needed.

    Raises:
        InputError: The server would be reachable from other machines without one, or the token is
            too short, or no header can carry it.
    """
    where, token = TOKEN, os.environ.get(TOKEN) or None
    if config.token_file:
        where = config.token_file
        try:
            token = Path(where).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as why:
            said = getattr(why, "strerror", None) or why  # str(why) would name the file once more
            raise InputError(f"--token-file is {where}, which cannot be read: {said}") from why
    if token is None:
        if config.local:
            return None
        raise InputError(
            f"--host is {config.host}, which other machines can reach, and there is no token; "
            f"write one into a file and name it with --token-file, or set {TOKEN} (to make one: "
            'python -c "import secrets; print(secrets.token_urlsafe(32))")'
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(f"{where} holds a token that an HTTP header cannot carry; make another")
    if len(token) < SHORTEST:
        raise InputError(
            f"{where} holds a token of {len(token)} characters; make one of at least {SHORTEST}"
        )
    return token


class Guard:
    """Middleware that answers only those who may ask.

    Args:
        app: What stands behind it.
        local: Whether the server listens on a loopback address.
        token: What requests must carry; None for nothing.
    """

    def __init__(self, app: ASGIApp, local: bool, token: str | None):
        self.app, self.local, self.token = app, local, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            refusal.headers["Connection"] = "close"  # its body is not read
            await refusal.response()(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = {k: v.decode("latin-1") for k, v in reversed(scope["headers"])}  # the first wins
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if self.local and not is_loopback(_name(host)):
            return Refusal(403, "refused: the Host header names another machine than this one")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return Refusal(403, "refused: a page of another origin sent this request")
        if self.token is None or scope["path"] in OPEN:
            return None
        given = _given(headers.get(b"authorization", ""))
        if not hmac.compare_digest(given, self.token.encode()):
            return Refusal(
                401,
                "a token is needed: send it as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return None


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host


def _given(authorization: str) -> bytes:
    """The token of a request: a bearer token, or the password of basic authentication.

    Clients that can only be given an address send the latter: http://any:TOKEN@host/path.
    """
    kind, _, rest = authorization.partition(" ")
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return rest.strip().encode("utf-8", "replace") if kind.lower() == "bearer" else b""


async def read_json(request: Request, most: int) -> Any:
    """Read a request's body as JSON.

    Args:
        request: The request.
        most: The most bytes that are read.

    Raises:
        Refusal: The body is too long (413), compressed (415) or no JSON (422).
    """
    close = {"Connection": "close"}
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "the body is compressed; send it as it is", close)
    too_long = Refusal(413, f"the body is longer than {most:,} bytes; send fewer items", close)
    said = request.headers.get("content-length", "")
    if said.isdigit() and int(said[:20]) > DISCARDED * most:
        raise too_long
    raw, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            raw += chunk
        elif size > DISCARDED * most:
            raise too_long
    if size > most:
        raise too_long
    try:
        return json.loads(bytes(raw), parse_constant=_no_number)
    except RecursionError as why:
        raise Refusal(422, "the body is nested too deeply") from why
    except ValueError as why:
        raise Refusal(422, f"the body is no JSON: {str(why)[:120]}") from why


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number; send null")
