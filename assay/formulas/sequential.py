"""Evidence that a run has turned, bought label by label: bets against "it has not", and detectors
of a change at an unknown time.

An outcome x ∈ [0,1] is one comparison of the current policy's answer with an earlier policy's: 1
won, 0 lost, ½ a tie. The null says that, given the past, E[x] ≥ m, where m = ½ − delta. A bet of λ
pays 1 + λ(m − x); under the null no bet has an expectation above 1, whoever chooses λ from the past
alone. So a product of pays, and any mixture of products with weights fixed beforehand, is an
e-process: P(ever ≥ 1/α) ≤ α (Ville), whatever rule decides how many labels a look buys. All logs
are natural. `*R`: any leading axes (runs of a simulation); J bets, L labels of one look, K answers
of one group.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

MOST = 0.99  # of the largest bet that cannot be ruined: one lost label never ends the betting


def flipped(p: Float[Tensor, "*R"], *, flip: float | Tensor) -> Float[Tensor, "*R"]:
    """q = f + (1 − 2f)·p: the win rate that a labeler who errs with chance f shows. Ties stay ties."""
    return flip + (1 - 2 * flip) * p


def unflipped(q: Float[Tensor, "*R"], *, flip: float) -> Float[Tensor, "*R"]:
    """p = (q − f)/(1 − 2f), held to [0,1]: the de-biased win rate (f < ½)."""
    if not 0 <= flip < 0.5:
        raise ValueError(
            f"flip is {flip}; a labeler's error rate lies in [0, ½) or the labels say nothing"
        )
    return ((q - flip) / (1 - 2 * flip)).clamp(0, 1)


def flip_rate(*, disagree: int, twice: int) -> tuple[float, float]:
    """The error rate f and a lower limit for it (95 %, Hoeffding), from answers that were judged
    twice.

    Two independent judgements of one pair differ with chance a = 2f(1 − f), so f = (1 − √(1 −
    2a))/2. a ≥ ½ is read as f = .49. Persons who err alike look better than they are: this f is a
    lower one. It sizes bets and de-biases, it never carries α.
    """
    if twice < 1 or not 0 <= disagree <= twice:
        raise ValueError(
            f"{disagree} of {twice} judged twice disagree; give counts with 0 ≤ disagree ≤ twice "
            "and twice ≥ 1"
        )

    def rate(a: float) -> float:
        return 0.49 if a >= 0.4998 else (1 - math.sqrt(1 - 2 * a)) / 2

    a = disagree / twice
    return rate(a), rate(max(0.0, a - math.sqrt(math.log(20) / (2 * twice))))


def null_mean(*, delta: float, flip: float = 0.0) -> float:
    """m = ½ − (1 − 2f)·delta: the least observed mean under the null p ≥ ½ − delta. f must be
    certain or too low.
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
    """λ = d/(m(1 − m) − explained·q(1 − q)), d = m − q: the bet that grows fastest when the true
    mean is q.

    With explained = 0 and outcomes 0 or 1 the pay is the likelihood ratio of q to m exactly,
    Kelly's bet (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
    betting"). `explained`: the share of the variance that a control variate takes away, guessed
    from the past. 0 where q ≥ m; at most `most`.
    """
    d = (null - q).clamp(min=0)
    lam = d / (null * (1 - null) - explained * q * (1 - q))
    return torch.minimum(lam, torch.as_tensor(most, dtype=q.dtype))


def largest_bet(c: Float[Tensor, "*R"], *, null: float, weight: float) -> Float[Tensor, "*R"]:
    """0.99/(w·(1 − m + |c|)): with outcomes in [0,1], controls in [−w,w] and weights up to w, a pay
    stays above 0.
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
    """log(1 + λ(w(m − x) + c·u)) of each bet on each label.

    w: 1, or 1/(K·chance of having been chosen) where the answer was not chosen evenly from its
    group (`choice`). u = w(z − z̄): the proxy's part, of mean 0 whatever the proxy is worth
    (`control`), so c and λ may be any function of the past. This is prediction-powered inference as
    betting (Angelopoulos et al. 2023; Zrnic and Candès 2024, "Active statistical inference").
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
    """u = w(z − z̄): the labeled answer's proxy less the mean over its own group of K fresh
    answers, itself among them.

    Every label needs a group of its own, drawn at the same look. One pool mean shared by a look's
    labels ties their pays together, and a product of dependent pays has an expectation above 1; a
    mean from another look may be off, and then α is lost.
    """
    u = proxy - group.mean(-1)
    return u if weight is None else weight * u


def choice(
    spread: Float[Tensor, "*R K"], uniform: Float[Tensor, "*R"], *, even: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Which of a group's K answers to have judged `[*R]`, and its weight 1/(K·π) ≤ 1/even: more
    often where `spread` is large.

    π = even/K + (1 − even)·spread/Σ spread. Neyman's rule: spread = √(conditional variance of the
    outcome), so judges' disagreement serves. `uniform`: one draw from (0,1) a group. A spread of 0
    throughout is an even choice.
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
    """(c, share of variance explained) of regressing past outcomes on past controls, from sums.

    The sums: n labels, Σy, Σy², Σyu, Σu² with y = w(x − ½); E u = 0 is known, so u is not centred.
    c = cov/(E u²), both shrunk as by `ridge` more labels without correlation; explained =
    c·cov/var. Sums may be discounted: only the past may be in them.
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
    """Weights over the look at which a fall begins, Σ ≤ 1. uniform: 1/looks. early: ∝ 1/k. open:
    1/(k(k + 1)), for runs of unknown length, whose first `looks` terms these are.
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
    """How a fall goes on from look to look: with chance `rate` its win rate is the next lower one
    of J; the last stays.

    A mixture over falls that deepen is a mixture of products of bets, so an e-process with it is
    still one.
    """
    q = torch.eye(J, dtype=torch.float64) * (1 - rate)
    q[torch.arange(J - 1), torch.arange(1, J)] = rate
    q[J - 1, J - 1] = 1.0
    return q


def shiryaev_roberts(
    log_s: Float[Tensor, "*R J"], log_pay: Float[Tensor, "*R J"], log_start: Float[Tensor, "*R J"]
) -> Float[Tensor, "*R J"]:
    """e-SR over one look: S ← (S + start)·Π pay, in logs. Σ_j S_j + the mass not yet started is an
    e-process.

    Shin, Ramdas and Rinaldo 2023, "E-detectors", with the prior's mass of this look (times a bet's
    weight) as `start` in place of 1: then Ville's inequality bounds the chance of any false alarm
    ever, and not only their frequency.
    """
    return torch.logaddexp(log_s, log_start) + log_pay


def cusum(
    log_s: Float[Tensor, "*R J"], log_pay: Float[Tensor, "*R J"], log_start: Float[Tensor, "*R J"]
) -> Float[Tensor, "*R J"]:
    """e-CUSUM: S ← max(S, start)·Π pay, in logs; never above `shiryaev_roberts`, so valid at the
    same threshold.
    """
    return torch.maximum(log_s, log_start) + log_pay


def deepened(log_s: Float[Tensor, "*R J"], moves: Float[Tensor, "J J"]) -> Float[Tensor, "*R J"]:
    """log(exp(log_s)·moves): the capital before the next look, moved among the bets by fixed shares
    (rows sum to 1).
    """
    return torch.logsumexp(log_s[..., :, None] + moves.log(), -2)
