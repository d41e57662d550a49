"""Best-of-n curves from scored completions: unbiased at every n, with a bootstrap over prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_AT_ONCE = 8_000_000  # resampled places held in memory at a time


class Estimate(NamedTuple):
    """A mean over prompts and its uncertainty; all fields have the shape of one prompt's values.

    Attributes:
        mean: The mean.
        err: Its standard error.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    mean: Tensor
    err: Tensor
    low: Tensor
    high: Tensor


def _log_factorials(most: int) -> Float[Tensor, "N"]:
    return torch.lgamma(torch.arange(1, most + 2, dtype=torch.float64))


def best_of_n_weights(N: int, n: int) -> Float[Tensor, "N"]:
    """The probability that rank i by proxy is the best of a random subset of n of N completions.

    wᵢ = C(i−1, n−1)/C(N, n),  i = 1 … N ascending

    Σ wᵢ·goldᵢ is the unbiased estimate of the gold of best-of-n; its variance grows to that of a
    single completion as n approaches N. Computed with log-gamma, so that N may be large.

    Args:
        N: Completions.
        n: Subset size, from 1 to N.

    Returns:
        `[N]` in float64; sums to 1.

    Raises:
        ValueError: n is outside 1 … N.

    Source: Nakano et al., "WebGPT", arXiv:2112.09332, 2021, appendix.
    """
    if not 1 <= n <= N:
        raise ValueError(f"n is {n} and N is {N}; best-of-n from N completions needs 1 ≤ n ≤ N")
    f = _log_factorials(N)
    below = torch.arange(n - 1, N)
    logs = (f[below] - f[n - 1] - f[below - (n - 1)]) - (f[N] - f[n] - f[N - n])
    return torch.nn.functional.pad(logs.exp(), (n - 1, 0))


def best_of_n(
    proxy: Float[Tensor, "B N"],
    gold: Float[Tensor, "B N"],
    ns: Sequence[int],
    present: Bool[Tensor, "B N"],
) -> Float[Tensor, "B K"]:
    """Unbiased estimate of the gold of best-of-n by proxy.

    Ties in the proxy share their ranks' weights, as if they were broken at random.

    Args:
        proxy: `[B, N]`.
        gold: `[B, N]`.
        ns: K subset sizes.
        present: Which completions count `[B, N]`.

    Returns:
        `[B, K]` in float64, to be averaged over prompts; NaN where a prompt has fewer than n
        completions.

    Raises:
        ValueError: n is below 1, or a completion that counts has no finite score.

    Source: Nakano et al., arXiv:2112.09332, 2021.
    """
    if min(ns, default=1) < 1:
        raise ValueError(f"n is {min(ns)}; best-of-n needs n of at least 1")
    for name, x in (("proxy", proxy), ("gold", gold)):
        bad = ~torch.isfinite(x) & present
        if bool(bad.any()):
            b, i = (int(j) for j in bad.nonzero()[0])
            raise ValueError(
                f"{name} is {float(x[b, i])} at prompt {b}, completion {i}, which is present; "
                "score it or mark it absent"
            )
    # absent completions are NaN, which sorts last: ranks 0 … count−1 are the present ones
    ranked, order = torch.where(present, proxy, torch.nan).sort(-1)
    golds = torch.where(present, gold.double(), 0.0).gather(-1, order)
    count = present.sum(-1)
    shared = _shared_among_ties(ranked, golds)
    out = golds.new_full((len(proxy), len(ns)), torch.nan)
    for N in torch.unique(count).tolist():
        rows = (count == N).nonzero()[:, 0]
        able = [k for k, n in enumerate(ns) if n <= N]
        if able:
            weights = torch.stack([best_of_n_weights(N, ns[k]) for k in able], -1).to(golds.device)
            out[rows[:, None], torch.tensor(able, device=rows.device)] = shared[rows, :N] @ weights
    return out


def best_of_n_shares(proxy: Float[Tensor, "B N"], n: int) -> Float[Tensor, "B N"]:
    """The probability of each completion to be the best of a random subset of n by proxy.

    A mean with these weights is the estimate of `best_of_n`, for any quantity of the completions.
    Ties share their probability.

    Args:
        proxy: `[B, N]`.
        n: Subset size.

    Returns:
        `[B, N]` in float64; sums to 1 over N.
    """
    ranked, order = proxy.sort(-1)
    weights = best_of_n_weights(proxy.shape[-1], n).to(proxy.device).expand(proxy.shape)
    return torch.zeros_like(weights).scatter(-1, order, _shared_among_ties(ranked, weights))


def _shared_among_ties(ranked: Tensor, golds: Tensor) -> Tensor:
    """Each gold replaced by the mean over its prompt's completions of the same proxy."""
    new = torch.ones_like(ranked, dtype=torch.bool)
    new[:, 1:] = (
        ranked[:, 1:] != ranked[:, :-1]
    )  # NaN differs from NaN: each absent completion is a class of its own
    if bool(new.all()):
        return golds
    group = new.flatten().cumsum(0) - 1
    total = golds.new_zeros(int(group[-1]) + 1).index_add_(0, group, golds.flatten())
    size = torch.bincount(group, minlength=len(total))
    return (total / size)[group].reshape(golds.shape)


def bootstrap_mean(
    values: Float[Tensor, "B *S"],
    *,
    draws: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
    index: Int[Tensor, "R B"] | None = None,
) -> Estimate:
    """Mean over prompts, and its percentile interval from resampled prompts.

    Give `generator`, or `index` so that two curves are compared prompt by prompt.

    Args:
        values: `[B, *S]`; NaN values are left out.
        draws: Resamples R, if `index` is not given.
        level: Coverage of the interval.
        generator: Draws the resamples.
        index: Resampled rows `[R, B]`.

    Returns:
        The estimate in float64. An entry without a number is NaN; a resample without a number for
        an entry is left out of that entry.

    Raises:
        ValueError: Neither or both of generator and index are given, there are no prompts, or level
            is outside (0, 1).
    """
    if (generator is None) == (index is None):
        raise ValueError(
            "a bootstrap needs either a generator or an index of resampled rows: exactly one of "
            "the two"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; an interval's level lies in (0, 1)")
    B = len(values)
    if B == 0:
        raise ValueError("there are 0 prompts; a mean over prompts needs at least one")
    flat = values.double().reshape(B, -1)
    known = ~torch.isnan(flat)
    both = torch.cat([torch.where(known, flat, 0.0), known.double()], -1)
    total = draws if index is None else len(index)
    means = []
    for start in range(0, total, max(1, _AT_ONCE // B)):
        r = min(total - start, max(1, _AT_ONCE // B))
        rows = (
            torch.randint(
                B,
                (r, B),
                generator=generator,
                device=None if generator is None else generator.device,
            )
            if index is None
            else index[start : start + r]
        )
        counts = torch.zeros(r, B, dtype=torch.float64, device=flat.device)
        counts.scatter_add_(
            1,
            rows.to(flat.device),
            torch.ones((), dtype=torch.float64, device=flat.device).expand(r, B),
        )
        sums, seen = (counts @ both).chunk(2, -1)
        means.append(sums / seen)  # 0/0 is NaN: this resample says nothing of this entry
    resampled = torch.cat(means)
    tails = torch.tensor(
        [(1 - level) / 2, (1 + level) / 2], dtype=torch.float64, device=flat.device
    )
    ends = torch.nanquantile(resampled, tails, 0)
    said = ~torch.isnan(resampled)
    away = torch.where(said, resampled - torch.nanmean(resampled, 0), 0.0)
    err = (away.square().sum(0) / (said.sum(0) - 1).clamp(min=1)).sqrt()
    mean = torch.nanmean(flat, 0)
    shape = values.shape[1:]
    return Estimate(
        *(
            x.reshape(shape)
            for x in (mean, torch.where(torch.isnan(mean), mean, err), ends[0], ends[1])
        )
    )
