"""Evaluators of steps by name: recorded answers, a language model, a server."""

from __future__ import annotations

from pathlib import Path

from assay.errors import InputError
from assay.rewards.recorded_answers import SMOLLM2, RecordedAnswers
from assay.rewards.transitions import asked
from assay.rewards.yes_no import ModelEvaluator, Remembered, ServedEvaluator

BLANK = "Before: nothing.\nAction: nothing.\nAfter: nothing.\n"


def evaluator_of(judge: str, model: str, yes: float = 0.5) -> Remembered | None:
    """Open an evaluator that is a model, or its answers; None for one of the world's.

    Raises:
        InputError: There is no such evaluator.
    """
    if judge in ("world", "fitted"):
        return None
    if judge == "smollm2" or judge.endswith(".json"):
        return Remembered(RecordedAnswers(SMOLLM2 if judge == "smollm2" else Path(judge), yes=yes))
    if judge.startswith(("http://", "https://")):
        return Remembered(ServedEvaluator(judge, model))
    if not Path(judge).is_dir() and "/" not in judge:
        raise InputError(
            f"--judge is '{judge}'; it is world, fitted, smollm2, a .json file of answers, a "
            "folder or a hub id of an instruct model, or an address http://…"
        )
    return Remembered(ModelEvaluator(judge, blank=[BLANK + asked("reach anything")]))
