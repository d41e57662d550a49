"""Self-play on a preference model: rewards from it, regressions on it, and proximal steps.

P(a ≻ b) is the probability that a beats b, P(a ≻ b) + P(b ≻ a) = 1. π is the policy in training,
π_k the one that drew the completions, μ the reference. Log-probabilities are *sums* over a
completion, never means. Nothing assumes that preferences come from a score.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.formulas.games import log_geometric_mixture, proximal_step
from assay.formulas.gibbs import FAR
from assay.formulas.pairwise import ipo


@torch.no_grad()
def win_proportions(
    preference: Float[Tensor, "*S N N"],
    present: Bool[Tensor, "*S N"],
    *,
    opponents: Bool[Tensor, "*S N"] | None = None,
) -> Float[Tensor, "*S N"]:
    """Share of a prompt's other completions that each one beats: r_i = mean_{j≠i} P(y_i ≻ y_j).

    A tie counts ½, two equal completions among them. Absent completions are no opponents. A
    completion without opponents gets ½.

    Args:
        preference: P(y_i ≻ y_j) − ½ `[*S, N, N]`; the diagonal is not read.
        present: Which completions count `[*S, N]`.
        opponents: Which of them are played against; None for all.

    Returns:
        `[*S, N]`, in [0, 1]; 0 for absent completions.

    Source: Swamy et al., "A Minimaximalist Approach to Reinforcement Learning from Human Feedback"
        (SPO), arXiv:2401.04056, 2024.
    """
    itself = torch.eye(present.shape[-1], dtype=torch.bool, device=present.device)
    against = present if opponents is None else present & opponents
    plays = present[..., :, None] & against[..., None, :] & ~itself
    won = torch.where(plays, preference + 0.5, preference.new_zeros(())).sum(-1)
    games = plays.sum(-1)
    share = torch.where(games > 0, won / games.clamp(min=1), preference.new_full((), 0.5))
    return torch.where(present, share, preference.new_zeros(()))


def inpo(
    policy: Float[Tensor, "*S"],
    previous: Float[Tensor, "*S"],
    reference: Float[Tensor, "*S"],
    *,
    eta: float,
    tau: float,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """Squared loss of one no-regret step: (h − 1/(2η))².

    h = log π(w)/π(l) − (τ/η)·log μ(w)/μ(l) − (1−τ/η)·log π_k(w)/π_k(l)

    Over pairs of two independent draws of π_k, each labelled by P, its minimiser is
    π ∝ π_k^{1−τ/η}·μ^{τ/η}·exp(P(·≻π_k)/η): a label's target of ±1/(2η) is right on average. η is
    an *inverse* step. It is IPO with τ_IPO = η, whose reference is the anchor μ^{τ/η}·π_k^{1−τ/η}.

    Args:
        policy: log π(w) − log π(l) of a pair `[*S]`.
        previous: The same of π_k, which drew the pair.
        reference: The same of μ.
        eta: η, above 0 and at least τ.
        tau: τ, weight of the KL to μ, at least 0.
        p: Probability that the first completion is better, `[*S]`; None for 1.

    Returns:
        `[*S]`, in nats².

    Raises:
        ValueError: η or τ is out of range.

    Source: Zhang et al., "Iterative Nash Policy Optimization", arXiv:2407.00617, 2024.
    """
    share = _share(eta, tau)
    h = policy - share * reference - (1 - share) * previous
    return ipo(h, torch.zeros_like(h), tau=eta, p=p)


def no_regret_step(
    logp: Float[Tensor, "*S A"],
    q: Float[Tensor, "*S A"],
    reference: Float[Tensor, "*S A"],
    *,
    eta: float,
    tau: float,
) -> Float[Tensor, "*S A"]:
    """The minimiser of `inpo` over all pairs: log of π^{1−τ/η}·μ^{τ/η}·e^{q/η}/Z.

    For τ = 0 it is a step of multiplicative weights of size 1/η, and `dno`'s minimiser too.

    Args:
        logp: log π_k `[*S, A]`.
        q: P(·≻π_k) or another value of each action `[*S, A]`.
        reference: log μ `[*S, A]`.
        eta: η, above 0 and at least τ.
        tau: τ, at least 0.

    Returns:
        Log-probabilities `[*S, A]`.

    Raises:
        ValueError: η or τ is out of range.

    Source: Zhang et al., arXiv:2407.00617, 2024.
    """
    share = _share(eta, tau)
    return ((1 - share) * logp + share * reference + q / eta).log_softmax(-1)


def dno(
    policy: Float[Tensor, "*S"], gap: Float[Tensor, "*S"], *, eta: float
) -> Float[Tensor, "*S"]:
    """Cross-entropy on expected win rates: −σ(Δr)·log σ(ηΔ) − σ(−Δr)·log σ(−ηΔ).

    Δ is the difference of log π/π_k between two completions and Δr that of r(y) = P(y ≻ π_k). Over
    all pairs its minimiser is π ∝ π_k·exp(r/η), where the loss is the entropy of σ(Δr), not 0.

    Args:
        policy: Δ of a pair, `[*S]`.
        gap: Δr of a pair, in [−1, 1], `[*S]`.
        eta: η, above 0; an inverse step, as DPO's β.

    Returns:
        `[*S]`.

    Raises:
        ValueError: η is not above 0.

    Source: Rosset et al., "Direct Nash Optimization", arXiv:2404.03715, 2024.
    """
    if not eta > 0:
        raise ValueError(f"eta is {eta}; the regression on win rates needs it above 0")
    better, z = gap.sigmoid(), eta * policy
    return -better * logsigmoid(z) - (1 - better) * logsigmoid(-z)


@torch.no_grad()
def margin_pairs(
    wins: Float[Tensor, "B N"], present: Bool[Tensor, "B N"], *, margin: float, most: int
) -> tuple[Int[Tensor, "B K 2"], Bool[Tensor, "B K"]]:
    """A prompt's pairs with the largest gaps in win rate, the better completion first.

    Equal gaps are taken in the completions' order.

    Args:
        wins: Win rate of each completion `[B, N]`.
        present: Which completions count `[B, N]`.
        margin: Smallest gap of a pair that is kept; a gap of 0 is never kept.
        most: Most pairs a prompt; 0 for all.

    Returns:
        Places in N of the better and the worse completion `[B, K, 2]`, and which pairs are kept
        `[B, K]`.

    Source: Rosset et al., arXiv:2404.03715, 2024, the practical algorithm.
    """
    B, N = wins.shape
    gap = wins[:, :, None] - wins[:, None, :]
    both = present[:, :, None] & present[:, None, :]
    gap = torch.where(both & (gap > 0) & (gap >= margin), gap, gap.new_full((), -torch.inf))
    K = min(most or N * N, N * N)
    best, place = gap.reshape(B, N * N).sort(stable=True, dim=-1, descending=True)
    place = place[:, :K]
    return torch.stack([place // N, place % N], -1), torch.isfinite(best[:, :K])


def magnetic_step(
    logp: Float[Tensor, "*S A"],
    q: Float[Tensor, "*S A"],
    magnet: Float[Tensor, "*S A"],
    *,
    eta: float,
    alpha: float,
) -> Float[Tensor, "*S A"]:
    """A step of magnetic mirror descent: log of [π·ρ^{αη}·e^{ηq}]^{1/(1+αη)}/Z.

    It maximises ⟨π′, q⟩ − α·KL(π′‖ρ) − KL(π′‖π)/η. With q of the opponents' last policies its
    fixed points are the quantal equilibria π ∝ ρ·e^{q/α}. α = 0 is plain mirror descent, which
    cycles in zero-sum games. Multiplying payoffs by a number changes what α means.

    Args:
        logp: log π `[*S, A]`.
        q: Value of each action `[*S, A]`.
        magnet: log ρ `[*S, A]`.
        eta: Step η, above 0.
        alpha: Temperature α, at least 0.

    Returns:
        Log-probabilities `[*S, A]`.

    Raises:
        ValueError: η or α is out of range.

    Source: Sokota et al., "A Unified Approach to Reinforcement Learning, Quantal Response
        Equilibria, and Two-Player Zero-Sum Games", arXiv:2206.05825, 2022.
    """
    if not (eta > 0 and alpha >= 0):
        raise ValueError(f"eta is {eta} and alpha {alpha}; eta must be above 0, alpha at least 0")
    return proximal_step(logp, q, magnet, eta=eta, tau=alpha)


def magnetic_loss(
    logratio: Float[Tensor, "*S"],
    to_magnet: Float[Tensor, "*S"],
    advantage: Float[Tensor, "*S"],
    *,
    eta: float,
    alpha: float,
) -> Float[Tensor, "*S"]:
    """`magnetic_step` as a loss on draws of π: ρ·(α·log π′/magnet − A) + (ρ·log ρ − ρ + 1)/η.

    ρ = π′/π of a whole draw. Its mean over draws of π is α·KL(π′‖magnet) + KL(π′‖π)/η − ⟨π′, A⟩, so
    that its minimiser is the magnetic step, and A may have any constant added. At π′ = π the last
    term has no gradient. ρ is at most e^40, beyond which the loss goes on linearly in log ρ: it
    still pulls back, and is a number.

    Args:
        logratio: log π′/π of each draw `[*S]`.
        to_magnet: log π′/magnet of each draw `[*S]`.
        advantage: A `[*S]`; no gradient flows into it.
        eta: Step η, above 0.
        alpha: Temperature α, at least 0.

    Returns:
        `[*S]`.

    Raises:
        ValueError: η or α is out of range.

    Source: Sokota et al., arXiv:2206.05825, 2022.
    """
    if not (eta > 0 and alpha >= 0):
        raise ValueError(f"eta is {eta} and alpha {alpha}; eta must be above 0, alpha at least 0")
    rho = logratio.clamp(max=FAR).exp()
    return rho * (alpha * to_magnet - advantage.detach()) + (rho * logratio - rho + 1) / eta


def moved_magnet(
    magnet: Float[Tensor, "*S A"], logp: Float[Tensor, "*S A"], *, kappa: float
) -> Float[Tensor, "*S A"]:
    """The magnet after it followed the policy: log of ρ^{1−κ}·π^κ/Z.

    Args:
        magnet: log ρ `[*S, A]`.
        logp: log π `[*S, A]`.
        kappa: κ, in [0, 1]; 0 leaves the magnet where it is.

    Returns:
        Log-probabilities `[*S, A]`.

    Raises:
        ValueError: κ is outside [0, 1].

    Source: Sokota et al., arXiv:2206.05825, 2022.
    """
    if not 0 <= kappa <= 1:
        raise ValueError(f"kappa is {kappa}; a magnet moves by a share of the way, in [0, 1]")
    return log_geometric_mixture(magnet, logp, weight=kappa)


def _share(eta: float, tau: float) -> float:
    """τ/η, the weight of μ in the anchor."""
    if not 0 <= tau <= eta or eta == 0:
        raise ValueError(
            f"eta is {eta} and tau {tau}; INPO's anchor needs 0 <= tau <= eta and eta above 0"
        )
    return tau / eta
