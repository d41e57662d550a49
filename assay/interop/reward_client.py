"""A client of `assay serve` that other trainers call: a total deadline, bounded tries, one score
or a reason for each completion.

It posts /v1/score, whose answer has a status for each completion, so that "does not apply", "could
not be scored" and 0 stay three things.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.data.http import LOOPBACK, RETRIED, key_of
from assay.data.http_exchange import seconds_of
from assay.data.http_faults import on_one_line
from assay.errors import InputError

if TYPE_CHECKING:
    import httpx2

KEYS = ("ASSAY_REWARD_KEY", "ASSAY_TOKEN")  # the first that is set is sent as a bearer token
LARGEST = 1 << 24  # bytes of an answer


class Unanswered(RuntimeError):
    """The server gave no answer before the deadline; the message says what the last try met."""


@dataclass(frozen=True)
class Answer:
    """What the server says of one completion.

    Attributes:
        score: The aggregate after the shape; None where the reward does not apply or failed.
        members: Each member's score.
        spread: The members' standard deviation.
        out_of_distribution: Whether the spread is above the server's limit.
        error: Why the completion could not be scored; empty where it could.
    """

    score: float | None
    members: tuple[float | None, ...] = ()
    spread: float | None = None
    out_of_distribution: bool | None = None
    error: str = ""


@dataclass(frozen=True)
class RewardClient:
    """Asks one server. It holds settings alone, so that it can be pickled; never the token.

    Attributes:
        url: The server's address, with or without /v1/score.
        timeout: Seconds that a call may take in all, tries and pauses included.
        tries: The most tries of one request.
        batch: The most completions of one request.
        at_once: The most requests under way.
        pause: Seconds before the second try; doubled for each further one. A longer Retry-After of
            the server counts.

    Example:
        >>> RewardClient("http://127.0.0.1:8000").address
        'http://127.0.0.1:8000/v1/score'
    """

    url: str
    timeout: float = 120.0
    tries: int = 10
    batch: int = 64
    at_once: int = 8
    pause: float = 0.25

    def __post_init__(self) -> None:
        import httpx2

        try:
            parts = httpx2.URL(self.url)
        except (httpx2.InvalidURL, TypeError) as why:
            raise InputError(f"the reward's address is {self.url!r}: {why}") from why
        if parts.scheme not in ("http", "https") or not parts.host:
            raise InputError(
                f"the reward's address is '{self.url}'; give one such as http://127.0.0.1:8000"
            )
        if parts.userinfo:
            raise InputError(
                f"the reward's address for {parts.host} holds a user name or a password; leave "
                f"them out and set {KEYS[0]} in the environment"
            )
        if min(self.timeout, self.tries, self.batch, self.at_once) <= 0:
            raise InputError("timeout, tries, batch and at_once of a reward are greater than 0")

    @property
    def address(self) -> str:
        """Where requests are posted."""
        bare = self.url.rstrip("/")
        return bare if bare.endswith("/v1/score") else f"{bare}/v1/score"

    def connect(self) -> httpx2.AsyncClient:
        """Make a pool of connections. It belongs to the event loop that first uses it."""
        import httpx2

        url, key = httpx2.URL(self.url), key_of(KEYS)
        limits = httpx2.Limits(max_connections=None)
        direct = url.host in LOOPBACK  # a transport of its own uses no proxy of the environment
        return httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(limits=limits) if direct else None,
            verify=url.scheme == "https",
            limits=limits,
            timeout=None,  # the deadline is of the whole call
            follow_redirects=False,
            headers={"User-Agent": "assay", "Accept-Encoding": "identity"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
        )

    async def ask(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        columns: Mapping[str, Sequence[Any]],
        http: httpx2.AsyncClient | None = None,
    ) -> list[Answer]:
        """Score R completions.

        Args:
            prompts: R texts or lists of messages.
            completions: R texts or lists of messages.
            columns: R values each, which JSON can hold.
            http: A pool of connections; one is made and closed if None.

        Returns:
            R answers, in the same order.

        Raises:
            Unanswered: The deadline passed, or the last try failed.
            InputError: The server refuses the request, and another try would not help.
        """
        if http is None:
            async with self.connect() as own:
                return await self.ask(prompts, completions, columns, own)
        gate, seen = asyncio.Semaphore(self.at_once), ["no answer came"]

        async def part(at: slice) -> list[Answer]:
            body = {
                "prompts": list(prompts[at]),
                "completions": list(completions[at]),
                "columns": {k: list(v[at]) for k, v in columns.items()},
            }
            async with gate:
                return await self._tried(http, body, seen)

        parts = [slice(i, i + self.batch) for i in range(0, len(prompts), self.batch)]
        try:
            async with asyncio.timeout(self.timeout), asyncio.TaskGroup() as group:
                asked = [group.create_task(part(at)) for at in parts]
        except TimeoutError as why:
            raise Unanswered(
                f"{self.address} gave no answer in {self.timeout:g} seconds ({seen[-1]})"
            ) from why
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return [answer for task in asked for answer in task.result()]

    async def _tried(self, http: httpx2.AsyncClient, body: Any, seen: list[str]) -> list[Answer]:
        """One request, until it is answered, refused or out of tries."""
        import httpx2

        content = json.dumps(body, allow_nan=False).encode("ascii")
        for attempt in range(self.tries):
            wait = 0.0
            try:
                code, headers, raw = await self._post(http, content)
                if code < 300:
                    return answers(raw, len(body["prompts"]))
                seen.append(f"HTTP {code}: {on_one_line(raw[:200])}")
                if code < 500 and code not in RETRIED:
                    raise InputError(f"{self.address} refuses the request with {seen[-1]}")
                wait = seconds_of(headers.get("Retry-After"), self.timeout) or 0.0
            except httpx2.TransportError as why:  # gone, cut off, or not HTTP at all
                seen.append(f"{type(why).__name__}: {why}"[:120])
            if attempt + 1 < self.tries:
                # a trainer's ranks ask together, and should not come back together
                doubled = min(8.0, self.pause * 2**attempt) * (0.5 + random.random())
                await asyncio.sleep(max(wait, doubled))
        raise Unanswered(f"{self.address} gave no answer in {self.tries} tries ({seen[-1]})")

    async def _post(
        self, http: httpx2.AsyncClient, content: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One try: status, headers and a bounded body."""
        raw = bytearray()
        sent = {"Content-Type": "application/json"}
        async with http.stream("POST", self.address, content=content, headers=sent) as reply:
            async for chunk in reply.aiter_raw():
                raw += chunk
                if len(raw) > LARGEST:
                    raise InputError(f"{self.address} sent an answer of more than {LARGEST} bytes")
            return reply.status_code, reply.headers, bytes(raw)


def answers(raw: bytes, n: int) -> list[Answer]:
    """Read the body of an answer of /v1/score.

    Args:
        raw: The body.
        n: How many completions were sent.

    Raises:
        InputError: It is something else, so this address is no reward of assay.

    Example:
        >>> answers(b'{"results": [{"status": "ok", "score": 1.5}]}', 1)[0].score
        1.5
    """
    try:
        rows = json.loads(raw)["results"]
        found = [_answer(row) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as why:
        raise InputError(f"no answer of assay's /v1/score: {on_one_line(raw[:80])}") from why
    if len(found) != n:
        raise InputError(f"the reward server answered {len(found)} of {n} completions")
    return found


def _answer(row: Mapping[str, Any]) -> Answer:
    score = row["score"] if row["status"] == "ok" else None
    if row["status"] == "ok":
        score = float(row["score"])
        if score - score != 0:
            raise ValueError("a score that is not finite")
    error = "" if row["status"] in ("ok", "not_applicable") else str(row.get("error") or "error")
    members, flag = row.get("members") or (), row.get("out_of_distribution")
    return Answer(score, tuple(members), row.get("spread"), flag, error)
