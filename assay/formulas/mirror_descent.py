"""Mirror descent on policies: a linearised objective minus a KL to the policy before the step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from assay.formulas.surrogate import ratio


def proximal(
    logp: Float[Tensor, "B N T"],
    old_logp: Float[Tensor, "B N T"],
    advantage: Float[Tensor, "B N #T"],
    kl: Float[Tensor, "B N T"],
    *,
    step_size: float,
) -> Float[Tensor, "B N T"]:
    """On-policy MDPO: −A·ρ + KL(π‖π_k)/t, for completions of π_k.

    The KL's gradient is 0 at π = π_k, so that one update from there is the policy gradient's, with
    any t. Several approach the step of mirror descent, `mirror_step`.

    Args:
        logp: log π `[B, N, T]`.
        old_logp: log π_k `[B, N, T]`.
        advantage: A `[B, N, T]` or `[B, N, 1]`; no gradient flows into it.
        kl: KL of the whole distribution at each decision `[B, N, T]`, differentiable.
        step_size: t, in nats per unit of the reward; above 0.

    Returns:
        `[B, N, T]`.

    Raises:
        ValueError: step_size is not above 0, or old_logp is NaN.

    Source: Tomar et al., "Mirror Descent Policy Optimization", arXiv:2005.09814, 2020.
    """
    if not step_size > 0:
        raise ValueError(f"step_size is {step_size}; the step of mirror descent must be above 0")
    return -advantage.detach() * ratio(logp, old_logp) + kl / step_size


def off_policy_proximal(
    logprobs: Float[Tensor, "*S V"],
    old_logprobs: Float[Tensor, "*S V"],
    q: Float[Tensor, "*S V"],
    *,
    c: float = 1.0,
    lam: float = 0.2,
) -> Float[Tensor, "*S"]:
    """Off-policy MDPO: Σ_a π(a)·(c·log π(a) + (λ − c)·log π_k(a) − Q(a)).

    c is λ + 1/t: the weight λ of the entropy and the step t. With c = λ it is the actor's loss of
    soft actor-critic. The minimiser is π ∝ π_k^{(c − λ)/c}·e^{Q/c}. States may come from any
    policy, since the expectation over actions is π's own.

    Args:
        logprobs: log π `[*S, V]`, normalised.
        old_logprobs: log π_k `[*S, V]`, normalised; no gradient flows into it.
        q: Q `[*S, V]`; no gradient flows into it.
        c: Above 0.
        lam: λ, from 0 to c.

    Returns:
        `[*S]`, differentiable in logprobs.

    Raises:
        ValueError: c or lam is out of range.

    Source: Tomar et al., arXiv:2005.09814, 2020, and its released code, whose example has c = 1 and
        λ = 0.2.
    """
    if not 0 <= lam <= c or not c > 0:
        raise ValueError(f"c is {c} and lam is {lam}; c must be above 0 and lam from 0 to c")
    inside = c * logprobs + (lam - c) * old_logprobs.detach() - q.detach()
    return (logprobs.exp() * inside).sum(-1)


def proximal_reward(
    q: Float[Tensor, "*S"],
    to_reference: Float[Tensor, "*S"],
    to_anchor: Float[Tensor, "*S"] | None = None,
    *,
    eta: float,
    tau: float,
) -> Float[Tensor, "*S"]:
    """Reward of a draw of π whose policy gradient climbs a regularised proximal step:

        q − τ·log π/μ − (1/η)·log π/anchor

    The policy gradient of it, the reward held fixed, is the gradient of
    ⟨π, q⟩ − τ·KL(π‖μ) − KL(π‖anchor)/η. The maximiser, `formulas.games.proximal_step`, is the
    policy under which every draw has the same reward.

    Args:
        q: Value of each draw `[*S]`, such as P(y ≻ π′); a constant changes nothing.
        to_reference: log π/μ of each draw, summed over its tokens `[*S]`, nats.
        to_anchor: log π/anchor, the same `[*S]`; None where η is 0.
        eta: Step η; 0 for no proximal term.
        tau: τ, per nat, at least 0.

    Returns:
        `[*S]`.

    Raises:
        ValueError: η or τ is below 0, or η is above 0 and there is no anchor.

    Source: Tiapkin et al., "Accelerating Nash Learning from Human Feedback via Mirror Prox",
        arXiv:2505.19731, 2025, whose η is τ·η here.
    """
    if eta < 0 or tau < 0 or (eta > 0 and to_anchor is None):
        raise ValueError(
            f"eta is {eta} and tau {tau}; both must be at least 0, and an eta above 0 needs the "
            "log-ratio to the anchor"
        )
    reward = q - tau * to_reference
    return reward if to_anchor is None or not eta else reward - to_anchor / eta


@torch.no_grad()
def mirror_step(
    old_logprobs: Float[Tensor, "*S V"], q: Float[Tensor, "*S V"], *, step_size: float
) -> Float[Tensor, "*S V"]:
    """The step itself, on a table: π_{k+1} ∝ π_k·e^{t·Q}.

    It maximises Σ_a π(a)·Q(a) − KL(π‖π_k)/t.

    Args:
        old_logprobs: log π_k `[*S, V]`.
        q: Q or advantages `[*S, V]`; a constant changes nothing.
        step_size: t.

    Returns:
        log π_{k+1} `[*S, V]`, normalised.
    """
    return (old_logprobs + step_size * q).log_softmax(-1)
