"""What the watch compares: two completions of one prompt, and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Comparison:
    """One policy's completion and another's to one prompt.

    Attributes:
        prompt: The prompt's text.
        completion: The first policy's completion.
        other: The other policy's completion.
        scores: The reward models' scores of either; None without reward models.
        columns: The prompt's other columns.
        samples: Both completions as the world holds them, the first policy's first.
        swapped: The same, the other policy's first.
        messages: The prompt as messages; None for one message of the user.
    """

    prompt: str
    completion: str
    other: str
    scores: tuple[list[float], list[float]] | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    samples: Any = None
    swapped: Any = None
    messages: list[dict[str, str]] | None = None

    @property
    def win_probabilities(self) -> list[float]:
        """Each reward model's probability that the first completion is better: σ(score − other)."""
        first, second = self.scores or ([], [])
        return [0.5 * (1 + math.tanh((a - b) / 2)) for a, b in zip(first, second, strict=True)]

    @property
    def win_probability(self) -> float:
        """Their mean."""
        return sum(p := self.win_probabilities) / len(p)


@runtime_checkable
class ComparisonSource(Protocol):
    """Samples comparisons from the policy that is trained and from the policies that were kept."""

    def prompts_left(self, used: int) -> int | None:
        """Prompts that are left.

        Args:
            used: How many prompts were sampled before.

        Returns:
            A count; None where prompts never run out.
        """
        ...

    def sample(
        self, step: int, policy: int, other: int, at: int, n: int, used: int
    ) -> list[Comparison]:
        """Sample n comparisons of two policies.

        Args:
            step: The present step.
            policy: The step of the first policy; the present one's own, or 0 for the reference.
            other: The step of the other policy.
            at: The place of the first comparison within this look.
            n: How many.
            used: How many prompts were sampled before.
        """
        ...

    def keep(self, step: int) -> None:
        """Keep the current policy as that of `step`."""
        ...

    def stats(self) -> dict[str, float]:
        """What this look's completions say for free (entropy, repetition), for hints alone."""
        ...
