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
    """What a paper says, as an experiment: arms to run, and what the seeds must show.

    The statistics are the same for all claims (`evidence/rule.py`). Used as a decorator of the
    effect. Everything here is written down before the seeds are run.

    Attributes:
        statement: The claim in one sentence.
        arms: `{"mine": ("recipe", {arguments}), …}`. Arguments may also be fields of the Loop, the
            world's (`"world.noise": 0.1`), and a paper that fits the rewards anew (`"fit":
            "bradley_terry", "fit.centre": 0.0`).
        turns: The arm that must visibly over-optimise first; None where the statement does not need
            it.
        worlds: Where the claim is run.
        on: Arguments that the claim needs of a world, by the world's name.
        least: δ, the smallest effect of interest, in the effect's units; one number, or one for
            each part by name (0 for a control that is not named: to beat it is enough). It is set
            after the pilot on seeds 0 to 4. None: the claim gets no verdict.
        seeds: The seeds on which the claim is judged, e.g. "100..119"; or by the world's name.
        tuned: Grids of constants by arm, `{"mine": {"beta": (0.1, 0.3)}, "rival": {"lam": (1.0,
            3.0)}}`, chosen on seeds 0 to 4 by the highest mean of `by`. All grids have the same
            number of settings. An arm's name instead of a grid takes what that arm chose, as a
            negative control does; "" keeps a control as it is, where it has none of the constants.
        by: `by(readings or lines of an arm) → float`, what constants are chosen by; the gold at the
            end of the run if not given.
        control: The parts of the effect that compare with a negative control: an arm with the
            mechanism broken and everything else kept.
        broken: What the negative control breaks, in a few words.
        premises: Parts of the effect that must hold (lie above their δ) before the others mean
            anything, such as that the rival is harmed. One that does not hold refutes nothing.
        shares: Parts that are 0 or 1 on each seed, such as whether something was improved. Their
            mean is a share, and it is judged by an exact interval, which thirty ones of thirty do
            not shrink to a point.
        differs: What the arms may spend unequally, and why: `{"scored": "an ensemble scores every
            completion five times"}`. Keys are generated, scored, compared, labels, updates and
            seconds.
        effect: `effect(arms) → float`, positive where the paper is right, or `→ {part: float}`,
            judged part by part.
    """

    statement: str
    arms: dict[str, tuple[str, dict[str, Any]]]
    turns: str | None = None
    worlds: tuple[str, ...] = ("table", "grammar")
    on: dict[str, dict[str, Any]] = field(default_factory=dict)
    least: float | dict[str, float] | None = None
    seeds: str | dict[str, str] = ""
    tuned: dict[str, dict[str, tuple[Any, ...]] | str] = field(default_factory=dict)
    by: Callable[[list[dict[str, Any]]], float] | None = None
    control: tuple[str, ...] = ()
    broken: str = ""
    premises: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    differs: dict[str, str] = field(default_factory=dict)
    effect: Callable[[Arms], float | dict[str, float]] | None = None

    def __call__(self, effect: Callable[[Arms], float | dict[str, float]]) -> Claim:
        self.effect = effect
        return self
