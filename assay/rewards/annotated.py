"""What the world's annotator says of transitions, and how an evaluator compares with it."""

from __future__ import annotations

from torch import Tensor

from assay.errors import InputError
from assay.rewards.transitions import Transitions


def annotation(t: Transitions) -> Tensor:
    """What the annotator says of each step and subgoal.

    Raises:
        InputError: Nobody annotated these subgoals.
    """
    if t.truth is None:
        raise InputError(
            f"nobody annotated the subgoals {'; '.join(t.subgoals)}; give --judge a model, or "
            "--subgoals given"
        )
    return t.truth


def agreement(hit: Tensor, t: Transitions) -> dict[str, float]:
    """How an evaluator compares with the annotator, over all steps and subgoals; what is undefined
    is left out.
    """
    if t.truth is None:
        return {"judge/said": float(hit[t.there].float().mean())}
    hit, true = hit[t.there], t.truth[t.there]
    out = _shares(hit, true)
    if {"recall", "false_positives"} <= out.keys():
        out["informedness"] = out["recall"] - out["false_positives"]
        if len(t.subgoals) > 1:
            wrong = _shares(hit.roll(1, -1), true)
            out["exchanged"] = wrong["recall"] - wrong["false_positives"]
    return {f"judge/{k}": v for k, v in out.items()}


def _shares(hit: Tensor, true: Tensor) -> dict[str, float]:
    both = float((hit & true).sum())
    shares = {
        "precision": (both, hit.sum()),
        "recall": (both, true.sum()),
        "f1": (2 * both, hit.sum() + true.sum()),
        "false_positives": (float((hit & ~true).sum()), (~true).sum()),
    }
    return {k: a / float(b) for k, (a, b) in shares.items() if b > 0}
