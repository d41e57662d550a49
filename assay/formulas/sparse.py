"""Preference losses by tokens: weights m_t on each token's log-ratio and on each token's KL.

    u = Σ_t m^u_t·(log π(y_t) − log π₀(y_t))           what a completion is rewarded by
    d = Σ_t m^d_t·Σ_v π₀(v)·(log π(v) − log π₀(v))     minus its weighted KL(π₀‖π)
    L = −log σ(β·[(u_w − u_l) − (d_w − d_l)]) + λ_u·(‖m^u_w‖₁ + ‖m^u_l‖₁) + λ_d·(…)

The inner sum of d is −KL(π₀‖π), the *forward* KL of a token, and never positive. With all m = 1 the
loss is TDPO₁'s, and with m^u = 1 and m^d = 0 it is DPO's. m^d_t = 0 *frees* token t of its KL.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.formulas import pairwise


def reward_part(
    logp: Float[Tensor, "*S T"],
    ref_logp: Float[Tensor, "*S T"],
    weight: Float[Tensor, "*S T"],
    mask: Bool[Tensor, "*S T"],
) -> Float[Tensor, "*S"]:
    """Weighted log-ratio of a completion, a sum over its tokens: u = Σ_t m_t·(log π − log π₀).

    Args:
        logp: log π of each token `[*S, T]`.
        ref_logp: log π₀ `[*S, T]`.
        weight: m^u, 0 or above `[*S, T]`.
        mask: The policy's own decisions `[*S, T]`.

    Returns:
        `[*S]` in nats.

    Source: Christopoulou et al., "SparsePO", arXiv:2410.05102, 2024.
    """
    return torch.where(mask, weight * (logp - ref_logp), logp.new_zeros(())).sum(-1)


def kl_part(
    kl: Float[Tensor, "*S T"], weight: Float[Tensor, "*S T"], mask: Bool[Tensor, "*S T"]
) -> Float[Tensor, "*S"]:
    """Minus the weighted forward KL of a completion: d = −Σ_t m_t·KL(π₀‖π)_t.

    Args:
        kl: KL(π₀‖π) of the whole distribution at each token, from `forward_kl`, `[*S, T]`.
        weight: m^d, 0 or above `[*S, T]`.
        mask: The policy's own decisions `[*S, T]`.

    Returns:
        `[*S]` in nats, never positive.

    Source: Christopoulou et al., arXiv:2410.05102, 2024; unweighted: Zeng et al., "Token-level
        Direct Preference Optimization", arXiv:2404.11999, 2024.
    """
    return -torch.where(mask, weight * kl, kl.new_zeros(())).sum(-1)


def forward_kl(
    logprobs: Float[Tensor, "*S V"], ref_logprobs: Float[Tensor, "*S V"]
) -> Float[Tensor, "*S"]:
    """KL(π₀‖π) = Σ_v π₀(v)·(log π₀(v) − log π(v)) of whole distributions.

    The policy is the *second* argument of the KL: what the reference may say and the policy does
    not costs most. `divergence.kl_full` is the other one, KL(π‖π₀).

    Args:
        logprobs: log π `[*S, V]`, normalised.
        ref_logprobs: log π₀ `[*S, V]`, normalised; −inf excludes a choice.

    Returns:
        `[*S]` in nats, differentiable, never negative; +inf where π alone excludes a choice.
    """
    apart = torch.where(
        ref_logprobs == -torch.inf,
        ref_logprobs.new_zeros(()),
        ref_logprobs.exp() * (ref_logprobs - logprobs),
    )
    return apart.sum(-1).clamp(min=0)


def sparse_po(
    chosen_reward: Float[Tensor, "*S"],
    rejected_reward: Float[Tensor, "*S"],
    chosen_kl: Float[Tensor, "*S"],
    rejected_kl: Float[Tensor, "*S"],
    *,
    beta: float,
    kl_weight: float = 1.0,
    p: Float[Tensor, "*S"] | None = None,
) -> Float[Tensor, "*S"]:
    """The pair's loss: −log σ(β·[(u_w − u_l) − α·(d_w − d_l)]), without the L1 terms.

    Args:
        chosen_reward: u_w from `reward_part` `[*S]`.
        rejected_reward: u_l `[*S]`.
        chosen_kl: d_w from `kl_part` `[*S]`.
        rejected_kl: d_l `[*S]`.
        beta: β.
        kl_weight: α, of the KL part; 1 in the paper, 0 for none of it.
        p: Probability that the first is truly better `[*S]`.

    Returns:
        `[*S]`.

    Source: Christopoulou et al., arXiv:2410.05102, 2024.
    """
    return pairwise.dpo(
        chosen_reward - kl_weight * chosen_kl,
        rejected_reward - kl_weight * rejected_kl,
        beta=beta,
        p=p,
    )


def mass(weight: Float[Tensor, "*S T"], mask: Bool[Tensor, "*S T"]) -> Float[Tensor, "*S"]:
    """L1 norm of a completion's weights: Σ_t |m_t|, a sum and not a mean.

    Args:
        weight: m `[*S, T]`.
        mask: The policy's own decisions `[*S, T]`.

    Returns:
        `[*S]`.
    """
    return torch.where(mask, weight.abs(), weight.new_zeros(())).sum(-1)


def layer_mask(
    states: Sequence[Float[Tensor, "*S T W"]],
    weight: Float[Tensor, "L W"],
    bias: Float[Tensor, "L"],
) -> Float[Tensor, "*S T L"]:
    """A number of each layer's state: ReLU(w_l·h_l + b_l).

    Args:
        states: h, one of each of L layers `[*S, T, W]`.
        weight: w `[L, W]`.
        bias: b `[L]`.

    Returns:
        `[*S, T, L]`, 0 or above.

    Source: Christopoulou et al., arXiv:2410.05102, 2024.
    """
    each = [h @ w + b for h, w, b in zip(states, weight, bias, strict=True)]
    return torch.relu(torch.stack(each, -1))


def mixed_mask(each: Float[Tensor, "*S T L"], mixer: Float[Tensor, "L"]) -> Float[Tensor, "*S T"]:
    """Mix the layers' numbers to one weight of a token: m = ReLU(Σ_l a_l·m_l).

    Args:
        each: The layers' numbers `[*S, T, L]`.
        mixer: a, of any sign `[L]`.

    Returns:
        `[*S, T]`, 0 or above.

    Source: Christopoulou et al., arXiv:2410.05102, 2024.
    """
    return torch.relu(each @ mixer)


def activation_mask(
    kinds: Sequence[Float[Tensor, "*S T _"]], mask: Bool[Tensor, "*S T"]
) -> Float[Tensor, "*S T"]:
    """MaPO's weights: each activation's mean over its width, rescaled, and averaged by kind.

    m_t = mean over kinds of (mean over the kind's activations of `rescaled`)

    So kinds weigh alike, however many activations a layer has of each.

    Args:
        kinds: For each kind (feed-forward, attention, residual stream) the means over the width of
            its A activations, in all layers `[*S, T, A]`.
        mask: The policy's own decisions `[*S, T]`.

    Returns:
        `[*S, T]` in [0, 1] without gradient, 0 outside the mask.

    Source: Christopoulou et al., arXiv:2410.05102, 2024.
    """
    return torch.stack([rescaled(x, mask).mean(-1) for x in kinds], -1).mean(-1)


def rescaled(
    activation: Float[Tensor, "*S T A"], mask: Bool[Tensor, "*S T"]
) -> Float[Tensor, "*S T A"]:
    """An activation's means, z-normalised and rescaled to [0, 1] over a completion's own tokens.

    r_t = (z_t − min z)/(max z − min z), z = (ā − mean ā)/std ā

    The rescaling undoes the z-normalisation, which therefore changes nothing: any c·ā + b with
    c > 0 gives the same numbers. Every completion has a token of 0 and one of 1.

    Args:
        activation: ā, means over the width of A activations `[*S, T, A]`.
        mask: The policy's own decisions `[*S, T]`.

    Returns:
        `[*S, T, A]` without gradient: 0 outside the mask, and 1 throughout a completion whose
        tokens are all alike, since nothing tells them apart.

    Source: Christopoulou et al., arXiv:2410.05102, 2024.
    """
    mean, own = activation.detach(), mask[..., None]
    low = torch.where(own, mean, torch.inf).amin(-2, keepdim=True)
    high = torch.where(own, mean, -torch.inf).amax(-2, keepdim=True)
    spread = high - low
    alike = ~(spread > 0)
    scaled = (mean - low) / torch.where(alike, torch.ones_like(spread), spread)
    return torch.where(own, torch.where(alike, torch.ones_like(mean), scaled), mean.new_zeros(()))


def at_other_places(
    weight: Float[Tensor, "*S T"], mask: Bool[Tensor, "*S T"], key: Float[Tensor, "*S T"]
) -> Float[Tensor, "*S T"]:
    """Put each completion's weights at other places among its own tokens, in the order of `key`.

    Sparsity and mass of every completion stay as they are, and which token has which weight means
    nothing any more: the control of a learned mask.

    Args:
        weight: m `[*S, T]`.
        mask: The policy's own decisions `[*S, T]`.
        key: Random numbers below 1 `[*S, T]`.

    Returns:
        `[*S, T]`, 0 outside the mask; differentiable in `weight`.
    """
    there = torch.where(mask, key, 2.0).argsort(-1)  # own tokens in random order, then the rest
    here = torch.where(mask, 0, 1).argsort(dim=-1, stable=True)  # own tokens as they stand
    kept = torch.where(mask, weight, weight.new_zeros(()))
    return torch.zeros_like(weight).scatter(-1, here, kept.gather(-1, there))
