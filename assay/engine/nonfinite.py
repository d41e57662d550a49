"""Numbers that are NaN or infinite: which sample they belong to.

While an update is computed, functions note for each completion whether a number of theirs is not
finite. The notes stay on the device, and nobody reads them unless the whole update turns out not to
be finite, so a healthy step pays for a few comparisons and never waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from assay.engine.shards import local

# the cause comes before what follows from it
ORDER = (
    "log-probability under the reference",
    "log-probability under the policy",
    "loss",
)
NAMED = 3  # samples of one event that are named
Place = tuple[Any, int, int]  # the batch, its row, the completion


@dataclass(frozen=True)
class Step:
    """An update that is not finite.

    Attributes:
        said: Its loss and gradient norm, in words.
        parameters: Whether the parameters are finite.
        skipped: Whether it was skipped; else it ends the run.
    """

    said: str
    parameters: bool
    skipped: bool


@dataclass
class Event:
    """Something that is not finite, with the samples that it was first seen in.

    Attributes:
        what: "reward", one of `ORDER`, or "gradient".
        said: A reward's name, or an update's loss and gradient norm in words.
        places: The samples: (batch, row, completion); at most `NAMED`.
        count: How many samples there are; 0 where none can be named.
        step: The update that it spoiled; None for a reward.
    """

    what: str
    said: str
    places: list[Place] = field(default_factory=list)
    count: int = 0
    step: Step | None = None


class NonFinite:
    """Notes what is not finite while somebody collects; else it keeps nothing.

    Attributes:
        leaves_out: Whether a reward that is not finite is left out, as None is; else it is an
            error.
        passes: Whether a number of a reward function that is not finite is returned as infinity:
            the caller then names the sample.
    """

    def __init__(self) -> None:
        self._events: list[Event] | None = None
        self._suspects: list[tuple[str, Any, Tensor, Any]] = []
        self._at: tuple[Tensor, Tensor | None] | None = None
        self.leaves_out = self.passes = False

    @property
    def collects(self) -> bool:
        """Whether somebody collects."""
        return self._events is not None

    @contextmanager
    def into(self, events: list[Event], *, leave_out: bool = False) -> Iterator[None]:
        """Add what is found within the block to `events`.

        Args:
            events: Where events go.
            leave_out: See the attribute `leaves_out`.
        """
        before = self._events, self.leaves_out
        self._events, self.leaves_out = events, leave_out
        try:
            yield
        finally:
            self._events, self.leaves_out = before
            self.clear()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """While somebody collects, hand on what a reward function returned; see `passes`."""
        before, self.passes = self.passes, self._events is not None
        try:
            yield
        finally:
            self.passes = before

    def piece(self, rows: Tensor, among: Tensor | None) -> None:
        """Say which part of a batch the next notes are about.

        Args:
            rows: Its rows of the batch, `[b]`.
            among: Their completions, `[k]`; None for all.
        """
        self._at = rows, among

    def whole(self) -> None:
        """Say that the next notes are about whole batches again."""
        self._at = None

    def suspect(self, what: str, samples: Any, bad: Tensor) -> None:
        """Note where a number is not finite.

        Args:
            what: One of `ORDER`.
            samples: The batch, or the piece of it that `piece` named.
            bad: `[b]`, `[b,N]` or `[b,N,T]`, True where the number is not finite.
        """
        if self._events is not None:
            bad = bad.detach()
            self._suspects.append((what, samples, bad.any(-1) if bad.dim() > 2 else bad, self._at))

    def logps(self, who: str, samples: Any, logp: Tensor) -> Tensor:
        """Note where log-probabilities of a completion's own decisions are not finite.

        Args:
            who: policy or reference.
            samples: The completions.
            logp: Theirs, `[b,N,T]`.

        Returns:
            `logp`.
        """
        if self._events is not None:
            bad = ~torch.isfinite(logp.detach()) & samples.mask.to(logp.device)
            self.suspect(f"log-probability under the {who}", samples, bad)
        return logp

    def step(self, step: Step, batch: Any) -> bool:
        """Say that an update is not finite; the samples are found in what was noted.

        Args:
            step: The update.
            batch: Its completions.

        Returns:
            Whether somebody collects.
        """
        if self._events is None:
            return False
        event = Event("gradient", step.said, step=step)
        for what in ORDER:
            places = [p for w, x, bad, at in self._suspects if w == what
                      for p in _places(x if at is None else batch, bad, at)]  # fmt: skip
            if places:
                event = Event(what, step.said, places[:NAMED], len(places), step)
                break
        self._events.append(event)
        self.clear()
        return True

    def rewards(self, name: str, samples: Any, bad: Tensor) -> None:
        """Say that a reward returned numbers that are not finite.

        Args:
            name: The reward's.
            samples: The completions.
            bad: `[B,N]`, True where it did.
        """
        if self._events is not None:
            places = _places(samples, bad, None)
            self._events.append(Event("reward", name, places[:NAMED], len(places)))

    def clear(self) -> None:
        """Forget what was noted, after an update that is finite."""
        self._suspects.clear()
        self._at = None


def _places(samples: Any, bad: Tensor, at: tuple[Tensor, Tensor | None] | None) -> list[Place]:
    found = []
    for place in bad.nonzero().tolist():
        b, n = place[0], place[1] if len(place) > 1 else 0
        if at is not None:
            rows, among = at
            b = int(rows[b])
            n = n if among is None else int(among[n])
        found.append((samples, b, n))
    return found


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether every number of some tensors is finite, as far as this process holds them.

    Example:
        >>> all_finite([torch.ones(2), torch.tensor([1.0, torch.nan])])
        False
    """
    each = [torch.isfinite(local(p.detach())).all().cpu() for p in parameters]
    return bool(torch.stack(each).all()) if each else True


nonfinite = NonFinite()
