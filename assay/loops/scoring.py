"""Score completions with a task's reward models: one of them, all of them, or an aggregate."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assay.core import Samples, Task
from assay.core.reward import Checked
from assay.errors import InputError
from assay.formulas.aggregate import mean, quantile, uncertainty_weighted, weighted_sum, worst
from assay.loops.missing import note_missing


def proxy_score(task: Task, member: int = 0, aggregate: str = "") -> Callable[[Samples], Tensor]:
    """Return the proxy that a recipe optimises, as a function `score(samples) → [B,N]`.

    Args:
        task: Its reward models are the members.
        member: Index of the reward model to use. Only this one is computed.
        aggregate: Empty for `member` alone; "mean", "worst", "uncertainty:0.5" (mean −
            0.5·variance) or "quantile:0.25" to combine all reward models, or "weighted:0.7,0.3"
            for a weighted sum of the first ones, a weight each. `member` is then ignored.

    Raises:
        InputError: `aggregate` names no known aggregate.
    """
    if not aggregate:
        one = fill_missing(task.rewards.only([member]))
        return lambda x: one(x)[0]
    combine = aggregator(aggregate)
    several = member_scores(task, len(weights_of(aggregate)))
    return lambda x: combine(several(x))


def member_scores(task: Task, members: int = 0) -> Callable[[Samples], Tensor]:
    """Return a function `scores(samples) → [M,B,N]` of the task's first `members` reward models.

    Args:
        task: Its reward models are the members.
        members: How many to use, counted from the first; 0 for all.
    """
    return fill_missing(task.rewards.only(range(members or len(task.rewards.names))))


def fill_missing(reward: Checked) -> Callable[[Samples], Tensor]:
    """Replace NaN scores ("does not apply") by the prompt's mean over its other completions.

    A completion without a score is thus neither raised nor lowered. A member that applies to no
    completion of a prompt takes the mean of the other members there, so an average of members is
    that of those that apply. Where no member does, the scores are 0 and equal; that they are no
    measurement is noted, see `scores_and_missing`. A reward that always applies is returned as it
    is.
    """
    if not reward.partial:
        return reward

    def filled(x: Samples) -> Tensor:
        scores = reward(x)
        applies = x.present & ~torch.isnan(scores)
        note_missing(x, x.present & ~applies.any(0))
        zero = scores.new_zeros(())
        total = torch.where(applies, scores, zero).sum(-1, keepdim=True)
        mean = total / applies.sum(-1, keepdim=True).clamp(min=1)
        own = torch.where(applies | ~x.present, scores, mean)
        known = applies.any(-1, keepdim=True)  # [M,B,1]
        others = torch.where(known, own, zero).sum(0) / known.sum(0).clamp(min=1)
        return torch.where(known, own, others)

    return filled


def aggregator(name: str) -> Callable[[Tensor], Tensor]:
    """Return the aggregate `[M,B,N] → [B,N]` that a flag such as "quantile:0.25" names.

    Args:
        name: "mean", "worst", "uncertainty:λ" (λ ≥ 0), "quantile:q" (0 ≤ q ≤ 1) or
            "weighted:w,w,…", a weight for each of the first reward models.

    Raises:
        InputError: The name is unknown or its number is out of range.
    """
    kind, _, constant = name.partition(":")
    plain = {"mean": mean, "worst": worst}
    takes: dict[str, tuple[float, float, Callable[[Tensor, float], Tensor]]] = {
        "uncertainty": (0.0, math.inf, lambda r, c: uncertainty_weighted(r, lam=c)),
        "quantile": (0.0, 1.0, lambda r, c: quantile(r, q=c)),
    }
    if kind in plain and not constant:
        return plain[kind]
    if weights := weights_of(name):
        return lambda r: _weighted(r, weights)
    try:
        low, high, combine = takes[kind]
        c = float(constant)
    except (KeyError, ValueError):
        c, low, high = math.nan, 0.0, 0.0
    if not low <= c <= high or math.isinf(c):
        raise InputError(
            f"--aggregate is '{name}'; use an empty string for one reward model, or mean, worst, "
            "uncertainty:0.5 (a weight of at least 0), quantile:0.25 (from 0 to 1) or "
            "weighted:0.7,0.3 (a number for each of the first reward models)"
        )
    return lambda r: combine(r, c)


def _weighted(scores: Tensor, weights: list[float]) -> Tensor:
    if len(scores) != len(weights):
        raise InputError(
            f"--aggregate has {len(weights)} weights and there are {len(scores)} reward models; "
            "give one weight for each"
        )
    return weighted_sum(scores, scores.new_tensor(weights))


def weights_of(name: str) -> list[float]:
    """The weights in an aggregate's name such as "weighted:0.7,0.3"; none where it is another.

    Raises:
        InputError: A weight is no finite number.
    """
    kind, _, listed = name.partition(":")
    if kind != "weighted":
        return []
    try:
        weights = [float(w) for w in listed.split(",")]
    except ValueError:
        weights = [math.nan]
    if not all(map(math.isfinite, weights)):
        raise InputError(
            f"--aggregate is '{name}'; give a number for each of the first reward models, such as "
            "weighted:0.7,0.3"
        )
    return weights
