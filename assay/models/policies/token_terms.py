"""What a language model and its reference say of the same decisions, token by token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from assay.core import Compared, Samples
from assay.errors import InputError
from assay.formulas.sparse import forward_kl


def compared(policy: Any, reference: Any, samples: Samples) -> Compared:
    """Compute log π, log π₀, KL(π₀‖π) and the reference's last hidden states, one pass each.

    Log-probabilities of the whole vocabulary are computed in blocks of decisions, and again in the
    backward pass, so that few of them are held at once.

    Args:
        policy: A Causal.
        reference: Another over the same vocabulary.
        samples: Completions.

    Returns:
        Everything `[B,N,T]`, 0 where `samples.mask` is False; the hidden states `[B,N,T,W]`.

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
        theirs, place = reference.states(samples)
    mine = policy.states(samples)[0]
    taken = samples.action[samples.mask]

    def piece(mine: Tensor, theirs: Tensor, place: Tensor, taken: Tensor) -> Tensor:
        with torch.no_grad():
            q = reference.log_probs(theirs, place)
        p = policy.log_probs(mine, place)
        own, other = (x.gather(1, taken[:, None])[:, 0] for x in (p, q))
        return torch.stack([own, other, forward_kl(p, q)], 1)

    each, blocks = list[Tensor](), list(policy.pieces(len(taken)))
    for s in blocks:
        given = (mine[s], theirs[s], place[s], taken[s])
        each.append(
            checkpoint(piece, *given, use_reentrant=False, preserve_rng_state=False)
            if len(blocks) > 1 and torch.is_grad_enabled()
            else piece(*given)
        )
    terms = torch.cat(each) if each else mine.new_zeros(0, 3)
    none = terms.new_zeros(samples.mask.shape)
    logp, ref_logp, kl = (none.masked_scatter(samples.mask, t) for t in terms.unbind(1))
    states = theirs.new_zeros(*samples.mask.shape, theirs.shape[-1])
    states[samples.mask] = theirs
    return Compared(logp, ref_logp.detach(), kl, states)
