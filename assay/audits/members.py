"""Members of an ensemble against each other: best-of-n by one, read by the others.

Reward models that were fitted on other labels, or on other draws of them, share what they learned
and err on their own. What one chooses out of n completions it likes for both reasons; what the
others say of its choice holds the shared part alone. Where the others' gain stops following the
chooser's, the chooser is choosing its own errors. What all members have in common, an error of the
labels or a blind spot of the model, is in no difference between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.audits.standardised import standardised
from assay.core.rng import Rng
from assay.errors import InputError
from assay.formulas.curves import Estimate, best_of_n, best_of_n_shares
from assay.formulas.divergence import best_of_n_bound

MOST = 1024  # the largest n
KEPT = 0.9  # members part where less than this share of the first doubling's ratio is left


@dataclass(frozen=True)
class Parting:
    """What the others say of one member's choice, by n.

    Scores are in standard deviations of each member within a prompt, above the prompt's mean, so
    that every gain is 0 at n = 1. Intervals resample prompts and say nothing of other members.

    Attributes:
        ns: The K sizes n, powers of two.
        d: √KL of best-of-n `[K]`: KL = log n − (n−1)/n, less where scores repeat.
        chooser: The chosen completion's score by the member that chose it `[K]`.
        others: Its score by the mean of the others `[K]`.
        ratio: others / chooser `[K]`; NaN at n = 1, where both are 0.
        left: The ratio as a share of that at n = 2 `[K]`.
        spread: The members' standard deviation on the chosen completion `[K]`.
        correlation: Between two members within prompts, mean over pairs.
        members: Reward models M.
        proxy: The member that chooses; None if each does in turn.
        prompts: Prompts with at least two scored completions.
        completions: The fewest and the most scored completions of these prompts.
        left_out: Completions that some members scored and some did not.
        level: Coverage of the intervals.
        draws: Resampled means of chooser, others and spread `[3, R, K]`.
    """

    ns: tuple[int, ...]
    d: Float[Tensor, "K"]
    chooser: Estimate
    others: Estimate
    ratio: Estimate
    left: Estimate
    spread: Estimate
    correlation: Estimate
    members: int
    proxy: int | None
    prompts: int
    completions: tuple[int, int]
    left_out: int
    level: float
    draws: Float[Tensor, "3 R K"]

    @property
    def parts_at(self) -> int | None:
        """The first n at which the interval of `left` lies below 0.9; None if it never does."""
        below = (self.left.high < KEPT).nonzero()
        return self.ns[int(below[0])] if len(below) else None

    def lines(self) -> list[str]:
        """Return the curves and where the members part, as lines of text."""
        who = "each member in turn" if self.proxy is None else f"member {self.proxy}"
        last = len(self.ns) - 1
        lines = [
            f"{who} chooses, {self.members - 1} read; {self.prompts:,} prompts, correlation of "
            f"two members {_shown(self.correlation)}",
            "   n    √KL  chooser's gain        others' gain          others / chooser",
        ]
        for k, n in enumerate(self.ns):
            cells = (_shown(e, k) for e in (self.chooser, self.others, self.ratio))
            lines.append(f"{n:>4}  {float(self.d[k]):5.2f}  " + "  ".join(f"{c:20}" for c in cells))
        first = self.parts_at
        if last == 0:
            lines.append("No prompt has two scored completions to choose from.")
        elif first is None:
            lines.append(
                f"The members do not part up to n = {self.ns[-1]}: at the end "
                f"{_shown(self.left, last)} of the first ratio is left. Errors that all of them "
                "share do not show."
            )
        else:
            lines.append(
                f"The members part at n = {first}, √KL = "
                f"{float(self.d[self.ns.index(first)]):.2f}: from there the others follow less; "
                f"at n = {self.ns[-1]} {_shown(self.left, last)} of the first ratio is left."
            )
        if self.left_out:
            lines.append(
                f"{self.left_out:,} completions are left out: not every member scored them."
            )
        return lines

    def record(self) -> dict[str, Any]:
        """Return all but the resamples as values of JSON; a number that is not known is None."""
        curves = ("chooser", "others", "ratio", "left", "spread", "correlation")
        return {
            "ns": list(self.ns),
            "d": self.d.tolist(),
            **{name: _as_record(getattr(self, name)) for name in curves},
            "parts_at": self.parts_at,
            "members": self.members,
            "proxy": self.proxy,
            "prompts": self.prompts,
            "completions": list(self.completions),
            "left_out": self.left_out,
            "level": self.level,
            "resamples": self.draws.shape[1],
        }


def parting(
    scores: Float[Tensor, "M B N"],
    *,
    proxy: int | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Parting:
    """Let one member choose the best of n and the others read its choice, for n = 1, 2, 4, ….

    Each value is the mean over all subsets of n (`formulas.curves.best_of_n`), then over prompts
    that have n completions, then over the members that choose. Standardised is (s − m_b)/σ with the
    prompt's mean m_b and σ² the mean over prompts of the variance within a prompt.

    For members that are jointly normal with correlation ρ, others / chooser is ρ at every n.

    Args:
        scores: `[M, B, N]` of N completions of B prompts by M reward models, NaN where absent.
        proxy: The member that chooses, as the one that a policy is trained against; each in turn
            if None.
        draws: Resamples R of the prompts.
        level: Coverage of the intervals.
        seed: Of the resamples.

    Returns:
        The curves up to n = min(N, 1024), their intervals, and where the members part.

    Raises:
        InputError: There are fewer than two members, a score is infinite, no prompt has two
            completions that every member scored, or a member gives all completions of each prompt
            one score.

    Example:
        >>> shared = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
        >>> found = parting(torch.stack([shared, 3 * shared + 1]))
        >>> found.ns, bool((found.ratio.mean[1:] - 1).abs().max() < 1e-9), found.parts_at
        ((1, 2, 4, 8, 16, 32, 64), True, None)
    """
    if scores.ndim != 3 or scores.shape[0] < 2:
        raise InputError(
            f"the scores have shape {list(scores.shape)}; members are compared by scores of at "
            "least 2 reward models, [models, prompts, completions]"
        )
    if draws < 2 or not 0 < level < 1:
        raise InputError(f"draws is {draws} and level {level}; give 2 or more and 0 < level < 1")
    M = scores.shape[0]
    if proxy is not None and not 0 <= proxy < M:
        raise InputError(f"proxy is {proxy}; the {M} members are numbered from 0")
    z, present, left_out = standardised(scores)
    count = present.sum(-1)
    most = min(int(count.max()), MOST)
    ns = tuple(2**k for k in range(most.bit_length()))
    choosers = range(M) if proxy is None else (proxy,)
    square = z.var(0)
    each = [
        best_of_n(z[i], x, ns, present)
        for i in choosers
        for x in (z[i], (z.sum(0) - z[i]) / (M - 1), square)
    ]
    curves = torch.stack(each).unflatten(0, (len(choosers), 3)).mean(0)  # [3, B, K]
    kl = torch.stack([_divergence(z[i], ns, present) for i in choosers]).mean(0)
    both = (z.sum(0).square() - z.square().sum(0)).sum(-1) / (count - 1) / (M * (M - 1))
    values = torch.cat([curves.permute(1, 0, 2).flatten(1), both[:, None]], -1)
    point, resampled = torch.nanmean(values, 0), _resampled(values, draws, Rng(seed))
    K = len(ns)

    def parts(x: Tensor) -> dict[str, Tensor]:
        chooser, others = x[..., :K], x[..., K : 2 * K]
        ratio = torch.where(torch.tensor(ns) > 1, others / chooser, torch.nan)
        first = ratio[..., 1:2] if K > 1 else ratio
        spread = x[..., 2 * K : 3 * K].clamp(min=0).sqrt()
        return {
            "chooser": chooser,
            "others": others,
            "ratio": ratio,
            "left": ratio / first,
            "spread": spread,
            "correlation": x[..., -1],
        }

    found, again = parts(point), parts(resampled)
    return Parting(
        ns=ns,
        d=torch.nanmean(kl, 0).sqrt(),
        members=M,
        proxy=proxy,
        prompts=len(values),
        completions=(int(count.min()), int(count.max())),
        left_out=left_out,
        level=level,
        draws=torch.stack([again[x] for x in ("chooser", "others", "spread")]),
        **{name: _estimate(found[name], again[name], level) for name in found},
    )


def _divergence(
    proxy: Float[Tensor, "P N"], ns: tuple[int, ...], present: Bool[Tensor, "P N"]
) -> Float[Tensor, "P K"]:
    """KL of best-of-n to what was sampled: Σ w·log(N·w) with the chances w of being chosen.

    It is at most log n − (n−1)/n, which holds where no score repeats, and which the sum exceeds
    where n is near N. NaN where a prompt has fewer than n completions.
    """
    out = torch.full((len(proxy), len(ns)), torch.nan, dtype=torch.float64)
    count = present.sum(-1)
    for N in torch.unique(count).tolist():
        rows = count == N
        x = proxy[rows][present[rows]].reshape(-1, N)
        for k, n in enumerate(ns):
            if n <= N:
                w = best_of_n_shares(x, n)
                found = torch.special.xlogy(w, N * w).sum(-1)
                out[rows, k] = torch.minimum(found, best_of_n_bound(n)).clamp(min=0)
    return out


def _resampled(values: Float[Tensor, "B S"], draws: int, rng: Rng) -> Float[Tensor, "R S"]:
    """Means over resampled prompts, of those that have a number."""
    B = len(values)
    index = torch.randint(B, (draws, B), generator=rng("bootstrap").generator())
    counts = torch.zeros(draws, B, dtype=torch.float64)
    counts.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64))
    known = ~torch.isnan(values)
    sums = counts @ torch.where(known, values, 0.0)
    return sums / (counts @ known.double())  # 0/0 is NaN: this resample has no such prompt


def _estimate(mean: Tensor, resampled: Float[Tensor, "R *S"], level: float) -> Estimate:
    """A value with its standard error and percentile interval from resamples."""
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.nanquantile(resampled, tails, 0)
    said = ~torch.isnan(resampled)
    away = torch.where(said, resampled - torch.nanmean(resampled, 0), 0.0)
    err = (away.square().sum(0) / (said.sum(0) - 1).clamp(min=1)).sqrt()
    return Estimate(mean, torch.where(torch.isnan(mean), mean, err), low, high)


def _shown(e: Estimate, k: int | None = None) -> str:
    """A value and its interval."""
    mean, low, high = (float(x if k is None else x[k]) for x in (e.mean, e.low, e.high))
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]" if mean == mean else "–"


def _as_record(e: Estimate) -> dict[str, Any]:
    """An estimate as values of JSON."""
    value = lambda x: None if x != x else x
    each = {name: getattr(e, name).tolist() for name in e._fields}
    return {k: [value(x) for x in v] if isinstance(v, list) else value(v) for k, v in each.items()}
