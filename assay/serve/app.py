"""The web application of a reward server: its paths, and what becomes of each request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.serve.batching import Batcher, Closing, Full, Scores
from assay.serve.config import ServeConfig
from assay.serve.item import BadRequest, Format, Item, Score, Unscored
from assay.serve.lanes import Died
from assay.serve.limits import Guard, Json, Refusal, read_json
from assay.serve.metrics import Metrics
from assay.serve.own_format import status

log = logging.getLogger("assay.serve")
GONE = 499  # logged where the client has gone; nothing is sent
ALONE = (  # for browsers: a reply is what its type says, and none of another page's parts
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
T = TypeVar("T")


class Service:
    """What the paths of a server share.

    Args:
        config: The limits.
        formats: The request formats.

    Attributes:
        phase: loading, ready or draining.
        about: What /v1/models tells; empty while the reward is loaded.
    """

    def __init__(self, config: ServeConfig, formats: Sequence[Format]):
        self.config, self.formats, self.phase = config, list(formats), "loading"
        self.about: dict[str, Any] = {}
        self.batcher: Batcher | None = None
        self.metrics = Metrics(
            lambda: 0 if self.batcher is None else len(self.batcher.waiting), self.stalled
        )

    def open(self, lanes: Scores, about: Mapping[str, Any]) -> None:
        """Begin to score. It is called in the event loop, once.

        Args:
            lanes: What scores.
            about: What /v1/models tells.
        """
        c = self.config
        self.batcher = Batcher(
            lanes,
            max_batch=c.max_batch,
            max_wait=c.max_wait / 1000,
            max_queue=c.max_queue,
            seen=self.metrics.batch,
        )
        self.batcher.start()
        self.about, self.phase = dict(about), "ready"
        self.metrics.about.info({"model": about["id"], "digest": about["digest"] or ""})

    async def close(self) -> None:
        """Score what waits, and nothing new."""
        self.phase = "draining"
        if self.batcher is not None:
            await self.batcher.close()

    def abandon(self) -> None:
        """Answer with HTTP 503 what is not scored yet: the time for it is over."""
        if self.batcher is not None:
            self.batcher.abandon()

    def stalled(self) -> float:
        """Seconds since the oldest batch that is being scored began."""
        return 0.0 if self.batcher is None else self.batcher.stalled()

    async def answer(self, request: Request, format: Format) -> Response:
        """Answer a request for scores."""
        told, deadline = request.state.told, self.config.timeout
        try:
            async with asyncio.timeout(deadline):
                body = await read_json(request, int(self.config.max_body * (1 << 20)))
                told["read"] = True
                items = format.read(body)
                told |= lengths(items)
                scores = await self._scores(request, items)
        except Refusal as why:
            return why.response()
        except BadRequest as why:
            return Refusal(422, str(why)).response()
        except Full as why:
            text = f"{self.config.max_queue:,} items wait already; try again"
            return Refusal(429, text, {"Retry-After": str(why.wait)}).response()
        except Closing:
            return Refusal(503, "the server is about to end", {"Retry-After": "5"}).response()
        except Died as why:
            return Refusal(503, f"{why}; try again", {"Retry-After": "1"}).response()
        except TimeoutError:
            if "read" not in told:
                text = f"the request was not whole after {deadline:g} seconds"
                return Refusal(408, text, {"Connection": "close"}).response()
            return Refusal(504, f"there was no answer within {deadline:g} seconds").response()
        for s in scores:
            self.metrics.items.labels(status(s)).inc()
        failed = [s.error for s in scores if s.error]
        if failed:
            told["failed"] = len(failed)
        if failed and not getattr(format, "per_item", False):
            text = f"{len(failed)} of {len(scores)} items have no score; the first: {failed[0]}"
            return Refusal(500, text).response()
        try:
            return Json(format.write(scores, body))
        except Unscored as why:
            return Refusal(why.status, str(why)).response()

    async def _scores(self, request: Request, items: Sequence[Item]) -> list[Score]:
        if self.batcher is None:
            raise Refusal(503, "the reward is still loading", {"Retry-After": "2"})
        if len(items) > self.config.max_items:
            raise Refusal(
                413,
                f"the request has {len(items):,} items, and at most {self.config.max_items:,} are "
                "taken at once; send fewer",
            )
        return await _unless_gone(request, self.batcher.submit(items)) if items else []


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Await work, and drop it where the client goes away."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            continue

    both = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not both[0].done():
            raise ClientDisconnect
        return both[0].result()
    finally:
        for task in both:
            task.cancel()


def lengths(items: Sequence[Item]) -> dict[str, int]:
    """What the log tells of items: how many there are, and how long."""
    sizes = [x.size for x in items]
    prompts, completions = sum(p for p, _ in sizes), sum(c for _, c in sizes)
    return {"items": len(items), "prompt_chars": prompts, "completion_chars": completions}


class Observed:
    """Middleware that counts and logs each request, and answers where something unexpected fails.

    Args:
        app: What stands behind it.
        service: Whose metrics count.
    """

    def __init__(self, app: ASGIApp, service: Service):
        self.app, self.service = app, service
        self.paths = {f.path for f in service.formats} | {"/", "/health", "/metrics", "/v1/models"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and write down what became of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, code, id = time.monotonic(), 0, secrets.token_hex(8)
        told = scope.setdefault("state", {})["told"] = dict[str, Any]()

        async def sending(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                message.setdefault("headers", []).extend([(b"x-request-id", id.encode()), *ALONE])
            await send(message)

        metrics = self.service.metrics
        with metrics.active.track_inprogress():
            try:
                await self.app(scope, receive, sending)
            except ClientDisconnect:
                code = GONE
            except Exception as why:
                log.error("failed", exc_info=why, extra={"fields": {"id": id}})
                if code == 0:
                    text = f"the server failed; its log says why, at id {id}"
                    await Refusal(500, text).response()(scope, receive, sending)
        path = scope["path"] if scope["path"] in self.paths else "other"
        took = time.monotonic() - began
        metrics.requests.labels(path, str(code)).inc()
        metrics.seconds.labels(path).observe(took)
        if path not in ("/health", "/metrics"):
            told.pop("read", None)
            fields = {"id": id, "path": path, "status": code, "seconds": round(took, 6), **told}
            log.info("request", extra={"fields": fields})


def application(service: Service, *, local: bool, token: str | None) -> Starlette:
    """The server as an ASGI application.

    Args:
        service: What answers.
        local: Whether the server listens on a loopback address.
        token: What requests must carry; None for nothing.

    Returns:
        The application. It has the paths of the formats, /health, /v1/models and /metrics; a bare
        address answers in the first format.
    """

    def scoring(format: Format) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return await service.answer(request, format)

        return answer

    async def health(request: Request) -> Response:
        stalled = service.phase == "ready" and service.stalled() > 2 * service.config.timeout
        phase = "stalled" if stalled else service.phase
        return Json({"status": phase}, 200 if phase == "ready" else 503)

    async def models(request: Request) -> Response:
        if not service.about:
            return Refusal(503, "the reward is still loading", {"Retry-After": "2"}).response()
        return Json({"object": "list", "data": [service.about]})

    async def metrics(request: Request) -> Response:
        text, kind = service.metrics.written(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": kind})

    async def missing(request: Request, why: Exception) -> Response:
        scored = ", ".join(f.path for f in service.formats)
        text = f"there is nothing at {request.url.path}; scores are at {scored}"
        return Refusal(404, text).response()

    async def other_method(request: Request, why: Exception) -> Response:
        allowed = (getattr(why, "headers", None) or {}).get("Allow", "POST")
        text = f"{request.url.path} takes {allowed}, and not {request.method}"
        return Refusal(405, text, {"Allow": allowed}).response()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await service.close()

    app = Starlette(
        routes=[
            *(Route(f.path, scoring(f), methods=["POST"]) for f in service.formats),
            Route("/", scoring(service.formats[0]), methods=["POST"]),
            Route("/health", health),
            Route("/v1/models", models),
            Route("/metrics", metrics),
        ],
        middleware=[
            Middleware(Observed, service=service),
            Middleware(Guard, local=local, token=token),
        ],
        exception_handlers={404: missing, 405: other_method},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
