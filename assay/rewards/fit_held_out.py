"""What a fitted reward is evaluated on: folds, a share of the prompts, or a file of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.core.rng import Rng
from assay.errors import InputError
from assay.rewards.fit_config import FitConfig
from assay.rewards.pool import Pool

SHARE = 0.1  # of the prompts that a whole model does not see: folds would fit it several times


@dataclass(frozen=True)
class Plan:
    """How a fit is evaluated.

    Attributes:
        folds: Parts of the cross-validation by prompt; 0 for none.
        held: Whether each row of the pool is kept from the fit.
        why_not: Why nothing is evaluated, for the user; "" where something is.
    """

    folds: int
    held: Bool[Tensor, "R"]
    why_not: str = ""

    def train(self) -> Int[Tensor, "r"]:
        """Return the rows that members are fitted to."""
        return (~self.held).nonzero()[:, 0]


def plan(name: str, pool: Pool, config: FitConfig, rng: Rng, *, scored: bool, other: bool) -> Plan:
    """Decide what a fit is evaluated on.

    Linear heads are cross-validated; whole models leave a share of the prompts out.

    Args:
        name: The file's name, for messages.
        pool: Its labels.
        config: The settings.
        rng: The address of the prompts that are held out.
        scored: Whether every row must get a score out of fold.
        other: Whether there is a held-out file.

    Returns:
        The plan.

    Raises:
        InputError: The file has too few prompts for what was asked.
    """
    whole = config.base != "words" and not config.frozen
    folds, share = config.folds, config.held_out_share
    if folds is None:
        folds = 0 if (whole or other or share) and not scored else min(5, pool.groups)
        folds = folds if pool.groups > 1 else 0
    if folds > pool.groups:
        raise InputError(
            f"{name} has {pool.groups} prompts that can be used, too few for --folds {folds}; give "
            f"at most {pool.groups}, or 0"
        )
    if scored and not folds:
        raise InputError(
            f"--out-of-fold needs at least 2 prompts, and {name} has {pool.groups} that can be used"
        )
    if scored and share:
        raise InputError(
            "--out-of-fold scores every row by members that never saw its prompt, and "
            f"--held-out-share {share} keeps prompts from all members: give one of the two"
        )
    if folds and share:
        raise InputError(
            f"--folds {folds} and --held-out-share {share} are two ways to evaluate a fit: give "
            "one of the two"
        )
    default = SHARE if whole and not folds and not other else 0.0
    share = default if share is None else share
    held = torch.zeros(len(pool), dtype=torch.bool)
    if share and pool.groups < 2:
        one = f"{name} has one prompt that can be used, so none can be held out"
        return Plan(folds, held, one)
    if share:
        n = min(pool.groups - 1, max(1, round(share * pool.groups)))
        chosen = torch.zeros(pool.groups, dtype=torch.bool)
        chosen[rng("held out").permutation(pool.groups)[:n]] = True
        held = chosen[pool.group]
    elif not folds and not other:
        return Plan(folds, held, "nothing was held out")
    return Plan(folds, held)


def unseen(pool: Pool, prompts: Collection[str], name: str) -> tuple[Pool, list[str]]:
    """Leave out of a held-out file the prompts that a reward was fitted to.

    Args:
        pool: The held-out file's labels.
        prompts: The prompts that the reward saw.
        name: The held-out file's name.

    Returns:
        (the other prompts, notes for the user).

    Raises:
        InputError: No prompt is left.
    """
    new = pool.unseen(prompts)
    known = int((~new).sum())
    if not known:
        return pool, []
    if known == pool.groups:
        raise InputError(
            f"all {known:,} prompts of {name} are among those that the reward is fitted to, so it "
            "cannot tell how well the reward does on new ones; give other prompts with --held-out"
        )
    said = f"{known:,} of {pool.groups:,} prompts of {name} are among those that were fitted to"
    return pool.of_groups(new), [f"{said}: they were left out of the evaluation"]
