"""What a request asks to score and what it gets back, whatever the format of its JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assay.errors import InputError


class BadRequest(InputError):
    """A request's body is malformed. The client gets status 422 and this one sentence."""


class Unscored(Exception):
    """A completion has no score, and the format has no place that could say so.

    A bare list never mixes scores and failures, because trainers take null for a crash and 0 for a
    reward. So the whole request fails.

    Args:
        sentence: Which completion has none, and why.
        status: 500, or 422 where another try gives the same.
        retry_after: Seconds until another try, if the server knows.
    """

    def __init__(self, sentence: str, *, status: int = 500, retry_after: float | None = None):
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True)
class Item:
    """One completion to score.

    Attributes:
        prompt: Text, or a list of messages.
        completion: Text, or a list of messages.
        columns: The other fields of the row by name, such as label or ground_truth.
        text: Prompt and completion as one text that a chat template wrote already. Where it is not
            empty, rewards that read tokens read it and nothing else; other rewards read prompt and
            completion, or `text` as the completion where both of these are empty.
        decoded: The same, as a trainer decoded its tokens, where nobody says whether a chat
            template wrote it. Rewards that read tokens take it for `text` where the prompt holds
            one of their special tokens.
    """

    prompt: str | list[dict[str, Any]]
    completion: str | list[dict[str, Any]]
    columns: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    decoded: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Characters of the prompt, and of the completion or the whole text."""
        return _characters(self.prompt), _characters(self.completion) + len(self.text)


def _characters(said: str | list[dict[str, Any]]) -> int:
    if isinstance(said, str):
        return len(said)
    return sum(len(m["content"]) for m in said if isinstance(m.get("content"), str))


@dataclass(frozen=True)
class Score:
    """What one item got.

    Attributes:
        value: The aggregate of the members after the shape; None where a member has no score.
        members: One score a member, in the order of the reward's names; None where it has none.
        spread: The members' standard deviation; None with fewer than two members.
        out_of_distribution: Whether the spread is above the limit; None without a limit.
        error: Why there is no score, in one sentence; empty where there is one or the reward does
            not apply.
        truncated: Whether a member read only a part, because the item is longer than its limit.
    """

    value: float | None
    members: tuple[float | None, ...]
    spread: float | None
    out_of_distribution: bool | None
    error: str = ""
    truncated: bool = False


@runtime_checkable
class Format(Protocol):
    """A request format: the JSON of one path, read as items and written from scores.

    Where an item has an error, the answer is HTTP 500 and `write` is not called, because a list
    that mixes numbers and failures would be read as numbers.

    Attributes:
        path: Where requests are posted, such as /get_reward.
    """

    path: str

    def read(self, body: Any) -> list[Item]:
        """Read a request's JSON.

        Raises:
            BadRequest: It is not what this format takes.
        """
        ...

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Return the JSON of the answer, one score an item in the order of `read`.

        Raises:
            Unscored: An item has no score, and the format cannot say so.
        """
        ...
