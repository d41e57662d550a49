"""The web application of the labeling page: routes, and the guard in front of them.

The guard refuses requests of another host (DNS rebinding) or another origin (CSRF), and hides
everything behind a random token in the path. Jinja2 escapes whatever a template shows, and the
content security policy allows no script but the page's own file.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.data.escape import marked

log = logging.getLogger("assay")
HERE = Path(__file__).parent
FILES = {"page.js": "text/javascript", "page.css": "text/css"}
MAX_FORM_BYTES = 10_000
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",  # for browsers that know no frame-ancestors
}
BUTTONS = (
    ("first", "1", "The first is better"),
    ("tie", "=", "Neither is"),
    ("second", "2", "The second is better"),
)


@runtime_checkable
class Labeling(Protocol):
    """What the application shows and changes."""

    def view(self) -> dict[str, Any]:
        """The template's values: the next pair, or None in its place when none is left."""
        ...

    def label(self, id: str, choice: str) -> None:
        """Write a label down."""
        ...

    def undo(self) -> None:
        """Take the last label back."""
        ...


class Guard:
    """Middleware that answers only the page's own browser tab.

    Args:
        app: What stands behind the guard.
        token: The first part of every path.
        hosts: The values of the Host header that are accepted; origins are http:// before them.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: set[str]):
        self.app, self.token, self.hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on; every reply carries the security headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self.app if scope["type"] != "http" else self._refusal(scope) or self.app
        await app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request is refused; None where it is not."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        ours = (
            headers.get("host") in self.hosts
            and headers.get("sec-fetch-site", "none") in ("none", "same-origin")
            and (origin is None or origin.removeprefix("http://") in self.hosts)
        )
        if not ours:
            text = "refused: not this page's own host or origin\n"
            return PlainTextResponse(text, 403, {"Connection": "close"})
        token = scope["path"].removeprefix("/").partition("/")[0]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.token.encode()):
            text = "nothing here: open the address that the terminal shows\n"
            return PlainTextResponse(text, 404, {"Connection": "close"})
        return None


def application(labeling: Labeling, token: str, hosts: set[str]) -> Starlette:
    """The labeling page as an ASGI application.

    Args:
        labeling: Gives the next pair and takes labels.
        token: The first part of every path.
        hosts: See `Guard`.

    Returns:
        The application; its page is at /TOKEN/.
    """
    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined
    )
    templates.filters["marked"] = lambda text: Markup(marked(text))
    template = templates.get_template("page.html")

    def show(request: Request) -> Response:
        html = template.render(labeling.view(), buttons=BUTTONS)
        return HTMLResponse(html.encode("utf-8", "backslashreplace"))

    async def label(request: Request) -> Response:
        form = await _form(request)
        if form is None:
            return PlainTextResponse("too long\n", 413, {"Connection": "close"})
        await run_in_threadpool(labeling.label, form.get("id", ""), form.get("choice", ""))
        return _back(token)

    def undo(request: Request) -> Response:
        labeling.undo()
        return _back(token)

    app = Starlette(
        routes=[
            Route(f"/{token}/", show),
            Route(f"/{token}/label", label, methods=["POST"]),
            Route(f"/{token}/undo", undo, methods=["POST"]),
            *(Route(f"/{token}/{name}", _file(name)) for name in FILES),
        ],
        middleware=[Middleware(Guard, token=token, hosts=hosts)],
        exception_handlers={OSError: _not_written},
    )
    app.router.redirect_slashes = False
    return app


def _file(name: str) -> Callable[[Request], Response]:
    """An endpoint that sends one file of the package."""
    return lambda request: FileResponse(HERE / name, media_type=FILES[name])


def _not_written(request: Request, why: Exception) -> Response:
    """The disk is full or gone: nothing was written down, and the same pair is still next."""
    log.warning("no label was written: %s", why)
    text = "Not written: the disk refused it (the terminal says why). Go back and try again.\n"
    return PlainTextResponse(text, 500)


def _back(token: str) -> Response:
    """The browser asks for the page again."""
    return Response(status_code=303, headers={"Location": f"/{token}/"})


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form, the first value of each; None where it is too long."""
    size = request.headers.get("content-length", "")
    if not size.isdigit() or int(size) > MAX_FORM_BYTES:
        return None
    text = (await request.body()).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(text).items()}
