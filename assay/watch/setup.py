"""A run's watch, set up from its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from assay.core import Prompts, Rng, Task
from assay.errors import InputError
from assay.watch.config import WatchConfig
from assay.watch.labelers.choose import make_labeler
from assay.watch.ledger import Ledger
from assay.watch.outlook import Outlook, outlook
from assay.watch.policy_comparisons import PolicyComparisons
from assay.watch.prompts import read_prompts, unique_prompts
from assay.watch.session import Watch


def open_watch(
    config: WatchConfig,
    task: Task,
    *,
    population: Prompts | None,
    held_out: Prompts,
    gold: Callable[..., Tensor] | None,
    ledger: Ledger,
    seed: int,
    looks: int,
    folder: Path | None,
    again: str,
    own: bool = True,
) -> tuple[Watch, PolicyComparisons]:
    """A run's watch, and the source of its comparisons.

    Args:
        config: How to watch.
        task: The run's task.
        population: All prompts of the world, where it knows them; None if prompts run out.
        held_out: Prompts that the training does not use.
        gold: The world's gold; None if it has none.
        ledger: The run's ledger.
        seed: The run's seed.
        looks: Looks of the whole run.
        folder: The run's folder; None for a run that is not recorded.
        again: The command that goes on with the run, for messages.
        own: See `PolicyComparisons`.

    Raises:
        InputError: The labeler or the prompts cannot be used.
    """
    rng = Rng(seed)
    prompts, again_and_again = _prompts(config, task, population, held_out)
    source = PolicyComparisons(
        task,
        prompts,
        again=again_and_again,
        rng=rng,
        folder=folder,
        own=own,
        scored=config.group > 1,
    )
    labeler = make_labeler(config, gold=gold, folder=folder, again=again)
    return Watch(source, ledger, labeler, rng, config, looks), source


def prospects(
    config: WatchConfig, task: Task, *, population: Prompts | None, held_out: Prompts, looks: int
) -> Outlook:
    """What the watch of a run can and cannot find, to be said before it begins.

    Args:
        config: How to watch.
        task: The run's task.
        population: All prompts of the world, where it knows them; None if prompts run out.
        held_out: Prompts that the training does not use.
        looks: Looks of the whole run.

    Raises:
        InputError: The prompts cannot be used.
    """
    prompts, endless = _prompts(config, task, population, held_out)
    plan = config.plan(max(1, looks), None if endless else len(prompts))
    return outlook(plan, config.make_detector(max(1, looks)).settings)


def _prompts(
    config: WatchConfig, task: Task, population: Prompts | None, held_out: Prompts
) -> tuple[Prompts, bool]:
    """The prompts of comparisons, and whether they are drawn again and again."""
    if config.prompts:
        return read_prompts(config.prompts, task), False
    return (unique_prompts(held_out), False) if population is None else (population, True)


def check_policy(policy: Any, flag: str = "--watch") -> None:
    """Raise InputError for a policy without parameters, which cannot be kept and compared.

    Args:
        policy: What a recipe yields.
        flag: The flag that keeps policies.
    """
    if not all(hasattr(policy, name) for name in ("state_dict", "load_state_dict", "copy")):
        raise InputError(
            f"{flag} keeps policies, and a {type(policy).__name__} has no parameters to keep; "
            "it is for recipes that train one policy"
        )
