"""Sequential evidence that a policy became worse: bets against "it did not", and change detectors.

An outcome x ∈ [0, 1] compares a completion of the current policy with one of an earlier policy: 1
won, 0 lost, ½ a tie. The null hypothesis is E[x] ≥ m given the past, with m = ½ − delta. A bet λ
pays 1 + λ(m − x); under the null no bet has an expectation above 1 if λ depends on the past alone.
Hence a product of pays, and any mixture of products with weights fixed beforehand, is an e-process:
P(ever ≥ 1/α) ≤ α (Ville), whatever rule decides how many labels a look buys. All logs are natural.
Axes: `*R` any leading ones (runs of a simulation), J bets, L labels of one look, K completions of a
group.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 0.99  # of the largest bet that cannot be ruined: one lost label never ends the betting


def flipped(p: Float[Tensor, "*R"], *, flip: float | Tensor) -> Float[Tensor, "*R"]:
    """Win rate that a labeler with error rate f shows: q = f + (1 − 2f)·p. Ties stay ties.

    Args:
        p: True win rate `[*R]`.
        flip: f.

    Returns:
        q `[*R]`.
    """
    return flip + (1 - 2 * flip) * p


def unflipped(q: Float[Tensor, "*R"], *, flip: float) -> Float[Tensor, "*R"]:
    """De-biased win rate: p = (q − f)/(1 − 2f), clipped to [0, 1].

    Args:
        q: Observed win rate `[*R]`.
        flip: f, in [0, ½).

    Returns:
        p `[*R]`.

    Raises:
        ValueError: flip is outside [0, ½).
    """
    if not 0 <= flip < 0.5:
        raise ValueError(
            f"flip is {flip}; a labeler's error rate lies in [0, ½) or the labels say nothing"
        )
    return ((q - flip) / (1 - 2 * flip)).clamp(0, 1)


def null_mean(*, delta: float, flip: float = 0.0) -> float:
    """The least observed mean under the null p ≥ ½ − delta: m = ½ − (1 − 2f)·delta.

    Args:
        delta: Margin of the null, in [0, ½).
        flip: f, exact or too low.

    Raises:
        ValueError: delta is outside [0, ½).
    """
    if not 0 <= delta < 0.5:
        raise ValueError(f"delta is {delta}; the margin of the null lies in [0, ½)")
    return 0.5 - (1 - 2 * flip) * delta


def bets(
    q: Float[Tensor, "*R J"],
    *,
    null: float,
    explained: float | Tensor = 0.0,
    most: float | Tensor = math.inf,
) -> Float[Tensor, "*R J"]:
    """The bet that grows fastest if the true mean is q.

    λ = d/(m(1 − m) − explained·q(1 − q)),  d = m − q

    With explained = 0 and outcomes 0 or 1 the pay is the likelihood ratio of q to m (Kelly's bet).

    Args:
        q: True means to bet on `[*R, J]`.
        null: m.
        explained: Share of the variance that a control variate removes, estimated from the past.
        most: Largest bet.

    Returns:
        λ `[*R, J]`; 0 where q ≥ m.

    Source: Waudby-Smith & Ramdas, arXiv:2010.09686, 2024.
    """
    d = (null - q).clamp(min=0)
    lam = d / (null * (1 - null) - explained * q * (1 - q))
    return torch.minimum(lam, torch.as_tensor(most, dtype=q.dtype))


def largest_bet(c: Float[Tensor, "*R"], *, null: float, weight: float) -> Float[Tensor, "*R"]:
    """The largest bet after which no pay reaches 0: 0.99/(w·(1 − m + |c|)).

    Args:
        c: Slopes of the control variate `[*R]`.
        null: m.
        weight: w, the largest weight of a label; controls are in [−w, w].

    Returns:
        `[*R]` in float64.
    """
    return MOST / (weight * (1 - null + c.double().abs()))


def log_pays(
    x: Float[Tensor, "*R L"],
    lam: Float[Tensor, "*R J"],
    *,
    null: float,
    control: Float[Tensor, "*R L"] | None = None,
    c: float | Tensor = 0.0,
    weight: Float[Tensor, "*R L"] | None = None,
) -> Float[Tensor, "*R J L"]:
    """Log of the pay of each bet on each label: log(1 + λ(w(m − x) + c·u)).

    The control u has mean 0 whatever the proxy is worth, so that c and λ can be any functions of
    the past. This is prediction-powered inference as betting.

    Args:
        x: Outcomes `[*R, L]`.
        lam: λ `[*R, J]`.
        null: m.
        control: u from `control` `[*R, L]`.
        c: Slope of u.
        weight: w from `choice` `[*R, L]`; 1 by default.

    Returns:
        `[*R, J, L]`.

    Source: Angelopoulos et al., "Prediction-powered inference", arXiv:2301.09633, 2023; Zrnic &
        Candès, "Active statistical inference", arXiv:2403.03208, 2024.
    """
    gain = null - x if weight is None else weight * (null - x)
    if control is not None:
        slope = torch.as_tensor(c, dtype=x.dtype)
        gain = gain + (slope[..., None] if slope.dim() else slope) * control
    return torch.log1p(lam[..., :, None] * gain[..., None, :])


def control(
    proxy: Float[Tensor, "*R L"],
    group: Float[Tensor, "*R L K"],
    weight: Float[Tensor, "*R L"] | None = None,
) -> Float[Tensor, "*R L"]:
    """Control variate of a label: u = w·(z − z̄), with z̄ the mean of a fresh group of completions.

    Every label needs a group of its own, sampled at the same look. One mean for all labels of a
    look makes their pays dependent, and a product of dependent pays can have an expectation above
    1; a mean of another look can be biased. Either loses α.

    Args:
        proxy: z of the labeled completion `[*R, L]`.
        group: z of its group, itself included `[*R, L, K]`.
        weight: w from `choice` `[*R, L]`; 1 by default.

    Returns:
        u `[*R, L]`.
    """
    u = proxy - group.mean(-1)
    return u if weight is None else weight * u


def choice(
    spread: Float[Tensor, "*R K"], uniform: Float[Tensor, "*R"], *, even: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Choose which completion of a group to label, more often where `spread` is large.

    π = even/K + (1 − even)·spread/Σ spread, by Neyman's rule: spread = √(variance of the outcome)

    Args:
        spread: Standard deviation of each outcome `[*R, K]`, such as reward models' disagreement;
            all 0 makes an even choice.
        uniform: One number in (0, 1) a group `[*R]`.
        even: Share of an even choice.

    Returns:
        The chosen place `[*R]`, and its weight 1/(K·π) ≤ 1/even `[*R]`.
    """
    K = spread.shape[-1]
    total = spread.sum(-1, keepdim=True)
    share = torch.where(total > 0, spread / torch.where(total > 0, total, 1.0), 1.0 / K)
    pi = even / K + (1 - even) * share
    index = (pi.cumsum(-1) < uniform[..., None] * pi.sum(-1, keepdim=True)).sum(-1).clamp(max=K - 1)
    return index, 1 / (K * pi.gather(-1, index[..., None])[..., 0])


def fit_control(
    n: Tensor, x: Tensor, xx: Tensor, xu: Tensor, uu: Tensor, *, ridge: float = 12.0
) -> tuple[Tensor, Tensor]:
    """Slope and explained variance of past outcomes regressed on past controls, from sums.

    c = cov/E u², explained = c·cov/var, both shrunk by n/(n + ridge)

    E u = 0 is known, so that u is not centred. Sums can be discounted; only the past may be in
    them.

    Args:
        n: Labels.
        x: Σ y with y = w·(x − ½).
        xx: Σ y².
        xu: Σ y·u.
        uu: Σ u².
        ridge: Labels without correlation that are added.

    Returns:
        c, and the explained share of the variance from 0 to 0.9.
    """
    n1 = n.clamp(min=1)
    mean = x / n1
    var, cov, power = xx / n1 - mean.square(), xu / n1, uu / n1
    known = (n >= 2) & (power > 1e-12) & (var > 1e-12)
    shrink = n / (n + ridge)
    c = torch.where(known, shrink * cov / torch.where(known, power, 1.0), 0.0)
    explained = torch.where(known, (c * cov / torch.where(known, var, 1.0)).clamp(0, 0.9), 0.0)
    return c, explained


def start_prior(*, looks: int, kind: str = "uniform") -> Float[Tensor, "T"]:
    """Prior weights of the look at which a fall begins, with sum at most 1.

    Args:
        looks: Looks T.
        kind: uniform: 1/T. early: ∝ 1/k. open: 1/(k(k + 1)), for runs of unknown length.

    Returns:
        `[T]` in float64.

    Raises:
        ValueError: The kind is unknown.
    """
    k = torch.arange(1, looks + 1, dtype=torch.float64)
    if kind == "uniform":
        return torch.full((looks,), 1.0 / looks, dtype=torch.float64)
    if kind == "early":
        return (1 / k) / (1 / k).sum()
    if kind == "open":
        return 1 / (k * (k + 1))
    raise ValueError(f"the prior over start looks is '{kind}'; it is uniform, early or open")


def deepening(*, J: int, rate: float) -> Float[Tensor, "J J"]:
    """How a fall continues from look to look, as a matrix of moves among J win rates.

    A mixture over falls that deepen is a mixture of products of bets, and hence an e-process.

    Args:
        J: Win rates, in falling order.
        rate: Probability of moving to the next lower one; the last stays.

    Returns:
        `[J, J]` in float64; rows sum to 1.
    """
    q = torch.eye(J, dtype=torch.float64) * (1 - rate)
    q[torch.arange(J - 1), torch.arange(1, J)] = rate
    q[J - 1, J - 1] = 1.0
    return q


def deepened(log_s: Float[Tensor, "*R J"], moves: Float[Tensor, "J J"]) -> Float[Tensor, "*R J"]:
    """Capital before the next look, moved among the bets by fixed shares.

    Args:
        log_s: log S `[*R, J]`.
        moves: From `deepening` `[J, J]`.

    Returns:
        log(exp(log_s)·moves) `[*R, J]`.
    """
    return torch.logsumexp(log_s[..., :, None] + moves.log(), -2)
