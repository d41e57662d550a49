"""What a recipe needs of your files, checked before a model is loaded."""

from __future__ import annotations

from assay.api import settings
from assay.api.orders import Order
from assay.errors import InputError
from assay.registry.catalogue import HOME
from assay.registry.docstrings import clause
from assay.registry.live import is_live


def check_needs(order: Order) -> None:
    """Check that a run with a model of yours has the files that its recipe learns from.

    A recipe of your own may read a part under some settings only, so its needs are found when it
    reads them.

    Args:
        order: The run as it was asked for.

    Raises:
        InputError: --rewards, --preference, --pairs or --demos is missing; the message says what it
            takes.
    """
    entry, given = order.entry, order.world_arguments
    if order.world != "hub" or entry.path.parent != HOME / "recipes":
        return

    def there(part: str) -> bool:
        return is_live(given.get(part)) or given.get(part) not in (None, "", (), [])

    files: list[str] = [p for p in ("pairs", "demos") if p in entry.needs]
    if "labelled" in entry.needs:
        files.append("demos")  # labelled completions are a kind of them
    by_rewards = "rewards" in entry.needs
    by_preference = "preference" in entry.needs
    if (by_rewards or by_preference) and not any(map(there, ("prompts", "pairs", "demos"))):
        return  # the files are what is missed first, and the world says so
    if by_preference and not there("preference"):
        raise InputError(_required(["preference"]))
    if by_rewards and not there("rewards") and not order.fit:
        raise InputError(_required(["rewards"]))
    # a recipe of rewards may read demonstrations under some settings only
    needed = [p for p in files if p == "pairs"] if by_rewards else files
    if needed and not any(map(there, needed)):
        raise InputError(_required(needed))


def _required(parts: list[str]) -> str:
    """The sentence for what is missing: any one of some arguments of world hub."""
    flags = settings.world_flags("hub")
    told = [clause(flags[f"world.{p}"].help).partition(";")[0] for p in parts]
    typed = " or ".join(f"--{p}" for p in parts)
    return f"{typed} is required: {' or '.join(told)}"
