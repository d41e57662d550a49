"""What a language model and its reference say of the same decisions, token by token."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from assay.core import Compared, Samples
from assay.core.policy import Shown
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.sparse import forward_kl
from assay.models.backbones.backbone import checked, tokens_read


def compared(policy: Any, reference: Any, samples: Samples, show: Shown = "last") -> Compared:
    """Compute log π, log π₀, both KLs and what the reference shows, one pass each.

    Log-probabilities of the whole vocabulary are computed in blocks of decisions, and again in the
    backward pass, so that few of them are held at once.

    Args:
        policy: A Causal.
        reference: Another over the same vocabulary.
        samples: Completions.
        show: "last" for the reference's last hidden state; "layers" for every layer's, the last
            one after the last norm; "activations" for the means of its activations over their
            width, a tensor for each of `backbones.activations.KINDS`.

    Returns:
        Everything `[B,N,T]`, 0 where `samples.mask` is False; the states `[B,N,T,W]`.

    Raises:
        InputError: The reference has another vocabulary, or a distribution is truncated, where
            KL(π₀‖π) is infinite as soon as the two keep different tokens.
    """
    if getattr(reference, "vocabulary", None) != policy.vocabulary:
        raise InputError(
            f"tokens cannot be compared with those of a {type(reference).__name__}: it is no "
            "language model over the same vocabulary"
        )
    for p in (policy, reference):
        if p.top_k or p.top_p < 1:
            raise InputError(
                f"top_k is {p.top_k} and top_p is {p.top_p}; KL(reference‖policy) needs whole "
                "distributions, so train with top_k 0 and top_p 1"
            )
    with torch.no_grad():
        theirs, place, shown = _states(reference, samples, show)
    mine = policy.states(samples)[0]
    taken = samples.action[samples.mask]

    def piece(mine: Tensor, theirs: Tensor, place: Tensor, taken: Tensor) -> Tensor:
        with torch.no_grad():
            q = reference.log_probs(theirs, place)
        p = policy.log_probs(mine, place)
        own, other = (x.gather(1, taken[:, None])[:, 0] for x in (p, q))
        return torch.stack([own, other, forward_kl(p, q), kl_full(p, q)], 1)

    each, blocks = list[Tensor](), list(policy.pieces(len(taken)))
    for s in blocks:
        given = (mine[s], theirs[s], place[s], taken[s])
        each.append(
            checkpoint(piece, *given, use_reentrant=False, preserve_rng_state=False)
            if len(blocks) > 1 and torch.is_grad_enabled()
            else piece(*given)
        )
    terms = torch.cat(each) if each else mine.new_zeros(0, 4)
    none = terms.new_zeros(samples.mask.shape)
    logp, ref_logp, kl, own_kl = (none.masked_scatter(samples.mask, t) for t in terms.unbind(1))
    states = tuple(_laid_out(x, samples) for x in shown)
    return Compared(logp, ref_logp.detach(), kl, states, own_kl)


def _states(
    reference: Any, samples: Samples, show: Shown
) -> tuple[Float[Tensor, "n W"], Int[Tensor, "n"], tuple[Tensor, ...]]:
    """Return the last hidden state before each own decision, its place, and what is shown."""
    if show == "last":
        last, place = reference.states(samples)
        return last, place, (last,)
    if not hasattr(reference.backbone, "activations"):
        raise InputError(
            f"a {type(reference.backbone).__name__} shows its last hidden state alone; use "
            "--layers last, with --masks shared or separate"
        )
    prompts, mask = checked(samples.prompts), samples.mask
    packed, before, sizes = reference.backbone.activations(
        show, prompts.tokens, prompts.mask, samples.action, tokens_read(samples)
    )
    parts = packed.index_select(0, before[..., :-1][mask]).split(sizes, -1)
    return parts[-1], mask.nonzero()[:, 2], parts if show == "layers" else parts[:-1]


def _laid_out(x: Float[Tensor, "n W"], samples: Samples) -> Float[Tensor, "B N T W"]:
    out = x.new_zeros(*samples.mask.shape, x.shape[-1])
    out[samples.mask] = x
    return out
