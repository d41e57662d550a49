"""What a step says of its training, by the names that TRL logs. It changes no number of training.

Statistics are of the whole batch: neither micro-batches nor processes change them. What a step did
not measure is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.core import Samples
from assay.engine.gauge import gauge
from assay.formulas.divergence import k3
from assay.formulas.surrogate import clipped, ratio
from assay.loops.mismatch import mismatch_stats
from assay.loops.missing import missing_stats, without_missing

Array = NDArray[Any]


def mean_stats(stats: Sequence[dict[str, float]]) -> dict[str, float]:
    """Average the statistics of one step's updates, each over the updates that have it.

    A number that is not finite is left out; "skipped" is summed.
    """
    out: dict[str, float] = {}
    for name in dict.fromkeys(k for s in stats for k in s):
        known = [s[name] for s in stats if name in s and math.isfinite(s[name])]
        if known:
            out[name] = sum(known) / (1 if name == "skipped" else len(known))
    return out


def rollout_stats(drawn: Iterable[tuple[Samples, Tensor | None]]) -> dict[str, float]:
    """Describe the completions that a step sampled, and their rewards.

    Args:
        drawn: Batches of completions, each with its rewards `[B,N]` or `[B,N,T]` (summed over a
            completion's decisions), or None where it has none. NaN is left out.

    Returns:
        Of completions: "completions/mean_length", "…/min_length", "…/max_length" and
        "…/mean_terminated_length" in decisions, "completions/clipped_ratio" (the share that was
        truncated before it ended by itself), and "entropy" of a decision in nats, estimated by the
        mean of −log π. Of rewards: "reward", "reward_std" over all completions,
        "reward_std_within" (mean over prompts of the deviation between a prompt's completions),
        "reward_std_between" (deviation of the prompts' means), and "frac_reward_zero_std": the
        share of prompts whose completions all have the same reward. Deviations are sample
        deviations (n − 1). What cannot be known is left out. Of an engine's completions also what
        `mismatch_stats` says.
    """
    lengths, ended, surprise, rewards = [], [], 0.0, []
    drawn = list(drawn)
    for x, reward in drawn:
        here = _array(x.present)
        lengths.append(_array(x.lengths)[here])
        ended.append(_array(x.ended)[here])
        surprise -= float(x.logp.masked_fill(~x.mask, 0.0).sum(dtype=torch.float64))
        if reward is not None:
            if reward.dim() == 3:
                reward = reward.masked_fill(~x.mask, 0.0).sum(-1)
            rewards.append(_groups(_array(reward.detach().double()), here))
    if not sum(map(len, lengths)):
        return {}
    length, over = np.concatenate(lengths).astype(float), np.concatenate(ended)
    said = {
        "completions/mean_length": length.mean(),
        "completions/min_length": length.min(),
        "completions/max_length": length.max(),
        "completions/clipped_ratio": (~over).mean(),
        "entropy": surprise / length.sum(),
    }
    if over.any():
        said["completions/mean_terminated_length"] = length[over].mean()
    if rewards:
        said |= _spreads(*np.concatenate(rewards, 1))
    said |= mismatch_stats([x for x, _ in drawn])
    return {k: float(v) for k, v in said.items() if math.isfinite(v)}


def completion_stats(
    x: Samples, reward: Tensor | None = None, missing: Tensor | None = None
) -> dict[str, float]:
    """`rollout_stats` of one batch.

    Args:
        x: The completions.
        reward: Their rewards, `[B,N]` or `[B,N,T]`.
        missing: Which of them are filled in and no measurement, see `scores_and_missing`; their
            share is "frac_reward_missing".
    """
    known = None if reward is None else without_missing(reward, missing)
    return {**rollout_stats([(x, known)]), **missing_stats([(x, missing)])}


def _array(x: Tensor) -> Array:
    return x.cpu().numpy()


def _groups(reward: Array, here: Array) -> Array:
    """Of each prompt's rewards `[B,N]`, where they are known: how many, their mean, the sum of
    squared differences from it, their range, and how many completions there are, `[5,B]`; without
    prompts that have no reward.
    """
    known = here & np.isfinite(reward)
    some = known.any(1)
    reward, known, here = reward[some], known[some], here[some]
    n = known.sum(1)
    mean = np.where(known, reward, 0.0).sum(1) / n
    squares = (np.where(known, reward - mean[:, None], 0.0) ** 2).sum(1)
    high, low = np.where(known, reward, -np.inf).max(1), np.where(known, reward, np.inf).min(1)
    return np.stack([n, mean, squares, high - low, here.sum(1)])


def _spreads(n: Array, each: Array, squares: Array, wide: Array, all_: Array) -> dict[str, float]:
    """What the columns of `_groups` say of all rewards."""
    count, several = n.sum(), n > 1
    if not count:
        return {}
    mean = (n * each).sum() / count
    said = {"reward": mean}
    if count > 1:
        every = squares.sum() + (n * (each - mean) ** 2).sum()
        said["reward_std"] = math.sqrt(every / (count - 1))
    if several.any():
        said["reward_std_within"] = np.sqrt(squares[several] / (n[several] - 1)).mean()
    if (compared := all_ > 1).any():  # where one has a reward, the others take it
        said["frac_reward_zero_std"] = (wide[compared] == 0).mean()
    if len(n) > 1:
        said["reward_std_between"] = each.std(ddof=1)
    return said


def clipped_surrogate(
    logp: Tensor, rows: Samples, advantage: Tensor, *, low: float, high: float
) -> Tensor:
    """`formulas.surrogate.clipped` of some completions; how much is clipped is recorded.

    The record is TRL's: "clip_ratio/low_mean" is the share of decisions whose ratio is below
    1 − low where the advantage is negative, "clip_ratio/high_mean" of those above 1 + high where
    it is positive, "clip_ratio/region_mean" of both.

    Args:
        logp: log π `[B,N,T]`.
        rows: The completions; `rows.logp` is log π_old.
        advantage: A, `[B,N,T]` or `[B,N,1]`.
        low: ε_low.
        high: ε_high.

    Returns:
        The unreduced loss `[B,N,T]`.
    """
    loss = clipped(logp, rows.logp, advantage, low=low, high=high)
    with torch.no_grad():
        rho = ratio(logp, rows.logp)
        below, above = (rho < 1 - low) & (advantage < 0), (rho > 1 + high) & (advantage > 0)
        gauge.add("clip_ratio/low_mean", below, rows.mask)
        gauge.add("clip_ratio/high_mean", above, rows.mask)
        gauge.add("clip_ratio/region_mean", below | above, rows.mask)
    return loss


def record_kl(logp: Tensor, reference_logp: Tensor, mask: Tensor) -> None:
    """Record the mean of k3 over decisions as "kl", TRL's estimate of KL(π‖π₀) for each token.

    It costs nothing where a recipe has the reference's log-probabilities anyway. A reading's `kl`
    is another number: of whole completions of held-out prompts.

    Args:
        logp: log π `[B,N,T]`.
        reference_logp: log π₀ `[B,N,T]`.
        mask: The policy's own decisions `[B,N,T]`.
    """
    with torch.no_grad():
        gauge.add("kl", k3(logp, reference_logp), mask)
