"""How near predicted risks come to risks, or to shares of wrong answers."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.formulas.pairwise import bradley_terry
from assay.stats.calibration import calibration


def scores(logit: Float[Tensor, "B"], truth: Float[Tensor, "B"]) -> dict[str, float]:
    """Scores of predictions, their calibration, and the risk of the half that is predicted safer.

    Args:
        logit: Predicted.
        truth: Risks, or shares of wrong answers.
    """
    order = logit.argsort()
    return {
        "log_score": score(logit, truth),
        "knowing_nothing": knowing_nothing(truth),
        "calibration_error": calibration(logit.numpy(), truth.numpy()).error,
        "risk": float(truth.mean()),
        "predicted_risk": float(logit.sigmoid().mean()),
        "risk_of_the_safer_half": float(truth[order[: len(order) // 2]].mean()),
    }


def excess(logit: Float[Tensor, "B"], truth: Float[Tensor, "B"]) -> dict[str, float]:
    """How far the log score lies above the best possible one.

    Args:
        logit: Predicted.
        truth: Risks. Shares of a few answers foretell themselves too well to be the best possible.
    """
    best = score(truth.clamp(1e-6, 1 - 1e-6).logit(), truth)
    return {"excess_log_score": score(logit, truth) - best}


def agreeing(answer: Int[Tensor, "B D"]) -> Float[Tensor, "B"]:
    """Share of each question's answers that agree with the most frequent one."""
    return (answer == answer.mode(1).values[:, None]).double().mean(1)


def knowing_nothing(truth: Float[Tensor, "B"]) -> float:
    """The score of one prediction for all questions, their mean."""
    return score(truth.mean().logit().expand_as(truth), truth)


def score(logit: Float[Tensor, "B"], truth: Float[Tensor, "B"]) -> float:
    """Mean −log likelihood, in nats, of answers that are wrong with these chances."""
    return float(bradley_terry(logit, torch.zeros_like(logit), p=truth).mean())
