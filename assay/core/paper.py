"""A published system, and what its paper says, as an experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Arms = dict[str, list[dict[str, Any]]]  # each arm's readings of one seed, or a study's lines


@dataclass(frozen=True)
class Paper:
    """A published system.

    Attributes:
        title: Letter for letter.
        authors: The first author, and "et al." for others.
        year: Of publication.
        url: An arXiv number or an address.
    """

    title: str
    authors: str
    year: int
    url: str


@dataclass
class Claim:
    """What a paper says, as an experiment: arms to run and one number a seed.

    The statistics are the same for all claims. Used as a decorator of the effect.

    Attributes:
        statement: The claim in one sentence.
        arms: `{"mine": ("recipe", {arguments}), …}`. Arguments may also be fields of the Loop, the
            world's (`"world.noise": 0.1`), and a paper that fits the rewards anew (`"fit":
            "bradley_terry", "fit.centre": 0.0`).
        turns: The arm that must visibly over-optimise first; None where the statement does not need
            it.
        worlds: Where the claim is run.
        on: Arguments that the claim needs of a world, by the world's name.
        least: The smallest effect of interest, in the effect's units; an interval wholly below it
            decides against the paper. None: a tenth of the fall of the arm that turns, or 0 where
            none does.
        effect: `effect(arms) → float`, positive where the paper is right, or `→ {part: float}`,
            judged part by part.
    """

    statement: str
    arms: dict[str, tuple[str, dict[str, Any]]]
    turns: str | None = None
    worlds: tuple[str, ...] = ("table", "grammar")
    on: dict[str, dict[str, Any]] = field(default_factory=dict)
    least: float | None = None
    effect: Callable[[Arms], float | dict[str, float]] | None = None

    def __call__(self, effect: Callable[[Arms], float | dict[str, float]]) -> Claim:
        self.effect = effect
        return self
