"""A reward behind `assay serve` as a reward function of TRL, plain or async.

TRL gives a reward function no deadline, and a rank that waits holds up all others in the next
gather. So a call here has a deadline of its own. Both classes can be pickled, which TRL's
AsyncGRPO needs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from assay.engine.plural import counted
from assay.errors import InputError
from assay.interop.reward_client import Answer, RewardClient, Unanswered

log = logging.getLogger("assay")
# Columns of a dataset that are not sent unless they are named: completions as ids, and what the
# server takes for its own names, for which it would refuse every completion.
_NOT_SENT = ("completion_ids", "prompts", "completions", "messages")


class _Served:
    """What both have: settings, and what becomes of answers.

    Args:
        url: The server's address, such as http://127.0.0.1:8000. A token is read from
            ASSAY_REWARD_KEY, or ASSAY_TOKEN, when the server is asked.
        timeout: Seconds that a call may take in all.
        name: The name that TRL logs.
        patience: Calls in a row that may stay without any answer, each completion being None,
            before one raises: a trainer without rewards learns nothing, and says little of it.
        columns: The columns of the dataset that the reward reads; all that JSON can hold if None,
            but those named prompts, completions or messages.
        settings: Further settings of `RewardClient`.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 120.0,
        name: str = "assay",
        patience: int = 2,
        columns: Sequence[str] | None = None,
        **settings: Any,
    ):
        self.client = RewardClient(url, timeout, **settings)
        self.patience, self.silent = patience, 0
        self.columns = None if columns is None else tuple(columns)
        self.__name__ = name

    def _sent(self, n: int, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The columns that are sent: those of the dataset, not the trainer's own objects."""
        wanted = (
            [k for k in columns if k not in _NOT_SENT] if self.columns is None else self.columns
        )
        if lost := [k for k in wanted if k not in columns]:
            raise InputError(
                f"reward {self.__name__} reads the column '{lost[0]}', which the trainer does not "
                "hand over; add it to the dataset, and set remove_unused_columns=False"
            )
        found = {k: columns[k] for k in wanted}
        lists = {k: list(v) for k, v in found.items() if isinstance(v, (list, tuple))}
        sized = {k: v for k, v in lists.items() if len(v) == n}
        return {k: v for k, v in sized.items() if self.columns is not None or _sayable(v)}

    def _rewards(self, found: list[Answer], log_metric: Any) -> list[float | None]:
        """One number a completion, None where it has none; the spread goes to the trainer's log."""
        self.silent = 0
        wrong = [a.error for a in found if a.error]
        if wrong:
            log.warning(
                "%s of %d could not be scored: %s",
                counted(len(wrong), "completion"),
                len(found),
                wrong[0][:200],
            )
        if callable(log_metric):
            spreads = [a.spread for a in found if a.spread is not None]
            flags = [a.out_of_distribution for a in found if a.out_of_distribution is not None]
            for what, values in (("spread", spreads), ("out_of_distribution", flags)):
                if values:
                    log_metric(f"{self.__name__}/{what}", sum(values) / len(values))
        return [a.score for a in found]

    def _unanswered(self, n: int, why: Unanswered) -> list[float | None]:
        """None for each completion, unless calls stay without an answer one after another."""
        self.silent += 1
        if self.silent > self.patience:
            raise why
        log.warning("%s; %s left without a reward", why, counted(n, "completion"))
        return [None] * n


class ServedReward(_Served):
    """A plain reward function.

    Example:
        >>> reward = ServedReward("http://127.0.0.1:8000", timeout=60, name="helpful")
        >>> reward.__name__
        'helpful'
    """

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """Score R completions.

        Args:
            prompts: Their prompts, texts or lists of messages.
            completions: Texts or lists of messages.
            columns: What TRL hands over beside them.

        Returns:
            R numbers; None where the reward does not apply, or could not be had.

        Raises:
            Unanswered: More than `patience` calls in a row got no answer.
            InputError: The server refuses the request, or a column that was named is missing.
        """
        sent = self._sent(len(prompts), columns)
        try:
            found = _in_a_loop_of_its_own(self.client, prompts, completions, sent)
        except Unanswered as why:
            return self._unanswered(len(prompts), why)
        return self._rewards(found, columns.get("log_metric"))


class AsyncServedReward(_Served):
    """An async reward function: TRL calls all of these at once."""

    async def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float | None]:
        """Score R completions, as `ServedReward` does."""
        sent = self._sent(len(prompts), columns)
        try:
            found = await self.client.ask(prompts, completions, sent)
        except Unanswered as why:
            return self._unanswered(len(prompts), why)
        return self._rewards(found, columns.get("log_metric"))


def _in_a_loop_of_its_own(client: RewardClient, *asked: Any) -> list[Answer]:
    """Run `ask` in a thread, because the caller's thread may run an event loop, as notebooks do."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(asyncio.run(client.ask(*asked)))
        except BaseException as why:  # it is raised again in the caller's thread
            found.append(why)

    thread = threading.Thread(target=run, name="assay-reward", daemon=True)
    thread.start()
    thread.join()
    if isinstance(found[0], BaseException):
        raise found[0]
    return list(found[0])


def _sayable(values: Sequence[Any]) -> bool:
    """Whether JSON can hold these values; it cannot hold dates, images and NaN."""
    try:
        json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
