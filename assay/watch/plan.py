"""The plan of labels: how many each look may buy, so that budget and fresh prompts last for all.

The rule that sets the number of labels reads the past alone, so it cannot cost the guarantee
(`assay.formulas.sequential`).
"""

from __future__ import annotations

from dataclasses import dataclass

CALM_SHARE = 8 / 11  # of all labels, for calm looks: 400 of the default budget of 550
SLACK = 0.2  # nats above those of a run that says nothing, at which a tight plan's reserve opens


@dataclass(frozen=True)
class Plan:
    """What a run's labels are spent on.

    While nothing happens a look buys `calm` labels, and never more than leaves as many for every
    later look. Once evidence gathers it buys up to `alert`, from what is beyond the calm labels of
    the looks to come: the reserve. Where there are fewer labels than looks, single looks buy one
    each, evenly spread.

    Attributes:
        budget: Labels that may be paid for.
        prompts: Fresh prompts, each of which is used once; None where they never run out.
        looks: Looks of the whole run.
        group: Prompts for each label.
        usual: Labels for a calm look where there are enough.
        highest: Labels for a look once evidence gathers.
        asked: Whether `usual` is what the user asked for; it is then only lowered as far as needed.

    Example:
        >>> plan = Plan(550, 64, 20, 1, 20, 32)
        >>> plan.labels, plan.calm, plan.reserve
        (64, 2, 24)
    """

    budget: int
    prompts: int | None
    looks: int
    group: int
    usual: int
    highest: int
    asked: bool = False

    @property
    def labels(self) -> int:
        """Labels that budget and prompts allow."""
        return self.budget if self.prompts is None else min(self.budget, self.prompts // self.group)

    @property
    def calm(self) -> int:
        """Labels for a look while nothing happens; 0 where there are fewer labels than looks."""
        share = 1.0 if self.asked else CALM_SHARE
        even = min(self.labels // self.looks, 1)
        return min(self.usual, max(even, int(share * self.labels / self.looks + 1e-9)))

    @property
    def alert(self) -> int:
        """Labels for a look once evidence gathers, as far as the reserve lasts."""
        return max(self.highest, self.calm)

    @property
    def reserve(self) -> int:
        """Labels beyond those of calm looks."""
        return self.labels - self.calm * self.looks if self.calm else 0

    @property
    def tight(self) -> bool:
        """Whether there are too few labels for the usual number in calm looks.

        The reserve is then small. It opens only where the evidence is above that of a run that says
        nothing, whose evidence grows with the prior's mass alone.
        """
        return self.calm < self.usual

    def at_look(self, look: int, left: int, *, gathers: bool) -> int:
        """Labels that a look buys.

        Args:
            look: The look, from 0.
            left: Labels that are left.
            gathers: Whether evidence gathers.
        """
        to_come = max(0, self.looks - look - 1)
        if not self.calm:
            due = (look + 1) * self.labels // self.looks - look * self.labels // self.looks
            return max(0, min(due, left))
        calm = min(self.calm, left // (to_come + 1))
        if not gathers:
            return calm
        return max(calm, min(self.alert, left - self.calm * to_come))
