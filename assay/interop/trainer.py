"""What a transformers trainer says of itself: its evaluations, its logs, its settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from assay.engine.folder_lock import Hold, hold
from assay.engine.os_errors import writing_to
from assay.engine.owner import held_by
from assay.errors import InputError
from assay.records.runs import plain

_HELD: dict[Path, Hold] = {}


def evaluates(args: Any) -> bool:
    """Whether a trainer makes evaluations.

    Args:
        args: Its TrainingArguments.
    """
    when = getattr(args, "eval_strategy", "no")
    return str(getattr(when, "value", when)) != "no"


def logged(history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The last value of every number that a trainer has logged.

    Args:
        history: `state.log_history`.
    """
    found: dict[str, float] = {}
    for line in history:
        found |= {
            k: float(v)
            for k, v in line.items()
            if isinstance(v, (int, float)) and k not in ("step", "epoch")
        }
    return found


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The token ids that end a completion; [] if there is none."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    if ends is None:
        return []
    return [int(e) for e in ends] if isinstance(ends, (list, tuple)) else [int(ends)]


def model_name(model: Any) -> str:
    """A model's name or path, or its class where it has neither."""
    return str(getattr(model.config, "_name_or_path", "") or type(model).__name__)


def recipe_name(args: Any) -> str:
    """A trainer's method, from the name of its configuration: GRPO of GRPOConfig."""
    return type(args).__name__.removesuffix("Config")


def settings_of(args: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those of a trainer's settings that are numbers or words, for a record."""
    values = {k: getattr(args, k, None) for k in names}
    return {k: plain(v) for k, v in values.items() if isinstance(v, (int, float, str))}


def hold_folder(folder: Path) -> None:
    """Hold a run's folder, so that no other process writes into it.

    A folder that this process holds already, as after an interrupted cell of a notebook, stays
    held: a trainer cannot train twice at once.

    Args:
        folder: Made where it does not exist.

    Raises:
        InputError: Another process holds it.
    """
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() in _HELD:
        return
    held = hold(folder)
    if held is None:
        raise InputError(
            f"{held_by(folder)} is writing to {folder}: wait until it has ended, or give the "
            "callback another folder"
        )
    _HELD[folder.resolve()] = held


def release_folder(folder: Path) -> None:
    """Let a run's folder go, at the end of a training."""
    held = _HELD.pop(folder.resolve(), None)
    if held is not None:
        held.release()
