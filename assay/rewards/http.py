"""A reward behind HTTP.

POST {"prompts", "completions", "columns"} is answered by {"scores": [number or null, …]}. Prompts
and completions are what a reward function gets (function.py): texts, or lists of messages where a
prompt is a conversation; columns are the other columns of the prompts' file, one value a
completion. null says that the reward does not apply. Completions are hostile text: they travel as
JSON strings, and only numbers of the reply are used.

Replies of other servers are read too (replies.py). A reply of another shape is refused at once; a
server that is gone, busy or fails is tried again. Requests have one form alone: a server that wants
another, such as OpenRLHF's {"query": [...]}, is called by a function of the user's.

`request_body` and `reply_scores` are the wire format, and nothing else here knows it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from assay.data.http import JsonClient
from assay.data.http_faults import Garbled, Refused, Unavailable
from assay.engine import progress
from assay.engine.plural import counted
from assay.errors import InputError
from assay.rewards.function import FunctionReward
from assay.rewards.replies import reply_scores
from assay.rewards.returned import one_line

KEYS = ("ASSAY_REWARD_KEY",)  # an environment variable; a key is never an argument
TIMEOUT = 120.0  # seconds for one call
SENT = '{"prompts", "completions", "columns"}'
OTHER = "for a server of another protocol, give FILE.py:name, a function that calls it"
MISFIT = (400, 405, 415, 422)  # status codes of a server that wants another request


def request_body(
    prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Sequence[Any]]
) -> dict[str, Any]:
    """Return the body of a request.

    Args:
        prompts: R prompts, texts or lists of messages.
        completions: R completions, likewise.
        columns: The other columns, R values each.

    Returns:
        An object that JSON can hold if the columns can.
    """
    return {
        "prompts": list(prompts),
        "completions": list(completions),
        "columns": {k: list(v) for k, v in columns.items()},
    }


class HttpFunction:
    """A server as a reward function.

    A completion is scored by itself: batches are cut where they are full, and their order in time
    does not matter.

    Args:
        url: The address.
        flag: The flag that gave it, for the messages.
        batch: Completions a call.
        at_once: Calls in flight.
        tries: Attempts at a call.
        timeout: Seconds that an attempt may take, from connecting to the reply's last byte. All
            attempts of a call take 300 seconds at most, or two timeouts where those are longer.
        pause: Seconds before the second attempt.
    """

    def __init__(
        self,
        url: str,
        flag: str,
        *,
        batch: int = 64,
        at_once: int = 4,
        tries: int = 6,
        timeout: float = TIMEOUT,
        pause: float = 0.5,
    ):
        self.flag, self.batch, self.at_once = flag, batch, at_once
        self.labels: set[str] = set()
        if not 0 < timeout < float("inf"):
            raise InputError(
                f"--reward-timeout is {timeout}; it is how many seconds a call of a reward server "
                "may take: give a number above 0"
            )
        self.client = JsonClient(
            url, flag, keys=KEYS, tries=tries, timeout=timeout, pause=pause, max_bytes=1 << 24
        )
        self.name = f"{self.client.host}{self.client.path.rstrip('/')}"

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Sequence[Any]
    ) -> list[Any]:
        """Return one score a completion, None where the reward does not apply."""
        slices = [slice(i, i + self.batch) for i in range(0, len(prompts), self.batch)]

        def one(s: slice) -> list[Any]:
            return self._ask(prompts[s], completions[s], {k: v[s] for k, v in columns.items()})

        scores: list[Any] = []
        with (
            ThreadPoolExecutor(max(1, min(self.at_once, len(slices)))) as pool,
            progress.stage(f"asking {self.name}", len(prompts), "completions") as asking,
        ):
            for some in pool.map(one, slices):
                scores += some
                asking.advance(len(some))
        return scores

    def _ask(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Sequence[Any]]
    ) -> list[Any]:
        n = len(prompts)
        several, url = counted(n, "completion"), self.client.url
        try:
            found = self.client.request(
                request_body(prompts, completions, columns),
                several,
                lambda reply: reply_scores(reply, n, self.labels),
                strict=True,
            )
        except Refused as why:
            more = f"; assay posts {SENT}: {OTHER}" if why.code in MISFIT else ""
            raise InputError(f"--{self.flag}: {why}{more}") from why
        except InputError:
            raise
        except (TypeError, ValueError) as why:
            bad = next((k for k, v in columns.items() if not _sayable(v)), "")
            raise InputError(
                f"--{self.flag}: the column '{bad}' holds what JSON cannot say ({str(why)[:80]}), "
                "and a server gets all columns; write it as text or numbers, or leave it out of "
                "the file"
            ) from why
        except Garbled as why:
            shape = one_line(why.shape, 80) or "what is not JSON"
            raise InputError(
                f"--{self.flag}: {url} answered {several} with {shape} ({one_line(why.said)}); "
                f'answer {{"scores": [{counted(n, "number")}]}}, one per completion and null where '
                f"the reward does not apply; {OTHER}"
            ) from why
        except Unavailable as why:
            raise InputError(
                f"--{self.flag}: {url} gave no scores of {several} in {self.client.tries} tries "
                f"({why}); start the server there, or give its address"
                + (f". assay posts {SENT}; {OTHER}" if str(why) == "HTTP 500" else "")
            ) from why
        return list(found)


def _sayable(values: Sequence[Any]) -> bool:
    """Return whether JSON can hold these values; it cannot hold dates, bytes and NaN."""
    try:
        json.dumps(list(values), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def reward_at(url: str, flag: str, **settings: Any) -> FunctionReward:
    """Open the server at an address as a reward; its name is the address without the scheme.

    Args:
        url: `http://host:port/path`.
        flag: The flag that gave it, for the messages.
        settings: See `HttpFunction`.

    Returns:
        The reward.
    """
    function = HttpFunction(url, flag, **settings)
    return FunctionReward(function, function.name)
