"""A judge behind HTTP: POST {"prompts", "completions", "columns"}, and {"scores": [number or null,
…]} comes back.

Prompts and completions are what a reward function of ours is handed (called.py): texts, or lists of
messages where a prompt is a conversation; columns are the prompts file's others, one value a
completion. null says that the judge does not apply. Completions are hostile text: they travel as
JSON strings, and of the reply nothing is used but numbers.

The wire format is the pair `asked` and `scored`, and nothing else here knows it. Whoever serves
rewards to other trainers reads the same two from the other side: OpenRLHF posts {"query": [...], …}
and wants {"rewards": [...]}, and such formats are further pairs of this kind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from assay.data.http import Again, Remote
from assay.errors import InputError
from assay.rewards.function import FunctionReward

KEYS = ("ASSAY_REWARD_KEY",)  # an environment variable; a key is never an argument


def asked(
    prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Sequence[Any]]
) -> dict[str, Any]:
    """The body of a question about some completions."""
    return {
        "prompts": list(prompts),
        "completions": list(completions),
        "columns": {k: list(v) for k, v in columns.items()},
    }


def scored(said: Any, n: int) -> list[Any]:
    """The n scores of a reply, not yet looked at. Raises TypeError, KeyError or ValueError for a
    reply of another shape.
    """
    scores = said["scores"]
    if not isinstance(scores, list) or len(scores) != n:
        raise ValueError(f"{n} scores were asked for")
    return scores


class Posted:
    """A server's judgement as a reward function. `batch`: completions a call; `at_once`: calls in
    flight.

    A completion is judged by itself: batches cut wherever they are full, and their order in time
    means nothing.
    """

    def __init__(
        self,
        url: str,
        flag: str,
        *,
        batch: int = 64,
        at_once: int = 4,
        tries: int = 6,
        timeout: float = 120.0,
        pause: float = 0.5,
    ):
        self.flag, self.batch, self.at_once = flag, batch, at_once
        self.remote = Remote(
            url, flag, keys=KEYS, tries=tries, timeout=timeout, pause=pause, most=1 << 24
        )
        self.name = f"{self.remote.host}{self.remote.path.rstrip('/')}"

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Sequence[Any]
    ) -> list[Any]:
        """One score a completion, None where the judge does not apply."""
        slices = [slice(i, i + self.batch) for i in range(0, len(prompts), self.batch)]

        def one(s: slice) -> list[Any]:
            return self._ask(prompts[s], completions[s], {k: v[s] for k, v in columns.items()})

        with ThreadPoolExecutor(max(1, min(self.at_once, len(slices)))) as pool:
            return [score for scores in pool.map(one, slices) for score in scores]

    def _ask(
        self, prompts: Sequence[Any], completions: Sequence[Any], columns: dict[str, Sequence[Any]]
    ) -> list[Any]:
        n = len(prompts)
        try:
            found = self.remote.ask(
                asked(prompts, completions, columns),
                f"{n} completions",
                lambda said: scored(said, n),
            )
        except InputError:
            raise
        except (TypeError, ValueError) as why:
            bad = next((k for k, v in columns.items() if not _sayable(v)), "")
            raise InputError(
                f"--{self.flag}: the column '{bad}' holds what JSON cannot say ({str(why)[:80]}), "
                "and a judge at an address is sent all columns; write it as text or numbers, or "
                "leave it out of the file"
            ) from why
        except Again as why:
            raise InputError(
                f"--{self.flag}: {self.remote.url} gave no scores of {n} completions in "
                f"{self.remote.tries} tries ({why}); start the judge there, or give the address "
                "it answers at"
            ) from why
        return list(found)


def _sayable(values: Sequence[Any]) -> bool:
    """Whether JSON has words for these values; it has none for dates, bytes and NaN."""
    try:
        json.dumps(list(values), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def judge_at(url: str, flag: str, **settings: Any) -> FunctionReward:
    """The judge at an address, as any other function is one; its name is the address without the
    scheme.
    """
    posted = Posted(url, flag, **settings)
    return FunctionReward(posted, posted.name)
