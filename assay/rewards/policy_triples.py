"""Trajectories of many policies, compared: which of two completions is of the reference's policy?

What needs no training stands beside: shared tokens, and how likely the reference policy finds them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import InputError, Pairs, Policy, Rng, Samples, cat
from assay.rewards.discriminator import triples
from assay.rewards.linear import LinearModel, bootstrap, maximum_likelihood


def tilts(
    reference: Any,
    count: int,
    rng: Rng,
    *,
    styles: int,
    strength: float,
    pairs: Pairs | None = None,
    quality: float = 0.0,
) -> list[Policy]:
    """Make policies π_k ∝ π₀·e^{w_k + q_k·r_k}: habits at random, and a training of its own.

    w_k is normal, with a standard deviation of its own from a third of `strength` to all of it; in
    the space of `styles` random directions, or in all. r_k is a linear reward model of a bootstrap
    of `pairs` with standard deviation 1 over the tokens, and q_k is uniform up to `quality`: the
    policy that reinforcement learning against r_k ends at, with a price of 1/q_k on KL.
    """
    V, each = reference.logits.shape[-1], torch.arange(count)
    w = rng("direction").normal(each[:, None], torch.arange(styles or V))
    if styles:
        w = w @ rng("style").normal(torch.arange(styles)[:, None], torch.arange(V)) / styles**0.5
    w = w * (strength * (1 + 2 * rng("strength").uniform(each)) / 3)[:, None]
    if quality and pairs is not None:
        model = LinearModel(count, vocabulary=V)
        maximum_likelihood(model, pairs, counts=bootstrap(len(pairs), count, rng("bootstrap")))
        learnt = model.table().detach()[:, 0].to(w.dtype)
        learnt = learnt / learnt.std(-1, keepdim=True)
        w = w + (quality * rng("quality").uniform(each))[:, None] * learnt
    return [reference.tilted(w[k][None], beta=1.0) for k in range(count)]


def compared(policies: list[Policy], prompts: Any, count: int, rng: Rng) -> tuple[Pairs, float]:
    """Make triples of random A ≠ B: y₁ of A as reference, y₂ of A chosen, y₃ of B rejected.

    Returns:
        The triples, and how often knowing A and B tells y₂ from y₃.
    """
    K, i = len(policies), torch.arange(count)
    asked = prompts[rng("prompt").integers(len(prompts), i)]
    a = rng("A").integers(K, i)
    b = (a + 1 + rng("B").integers(K - 1, i)) % K

    def each(k: Tensor, f: Callable[[Policy, Tensor], Samples]) -> Samples:
        """What `f` makes of a policy and its rows, put back in the rows' order."""
        rows = [(k == j).nonzero().flatten() for j in range(K)]
        made = cat([f(policies[j], r) for j, r in enumerate(rows) if len(r)])
        return made[torch.argsort(torch.cat(rows))]

    first = each(a, lambda p, r: p.sample(asked[r], 2, rng("of A")[r]))
    other = each(b, lambda p, r: p.sample(asked[r], 1, rng("of B")[r]))
    y1, y2 = (first.pick(torch.full((count, 1), n)) for n in range(2))
    made = triples(y1, y2, other)

    def likelier(x: Pairs) -> Tensor:
        """log π_A/π_B of the two candidates: what someone who knows both would go by."""
        of = [each(k, lambda p, r: replace(x[r], logp=p.logp(x[r]))).logp.sum(-1) for k in (a, b)]
        return of[0] - of[1]

    with torch.no_grad():
        return made, right(likelier(made))


def right(score: Tensor) -> float:
    """Share of rows `[B,2]` whose first is the higher; a tie is half."""
    return float(((torch.sign(score[:, 0] - score[:, 1]) + 1) / 2).double().mean())


def overlap(new: Pairs) -> Tensor:
    """Tokens that reference and candidate share, each as often as both have it `[B,2]`."""
    V = int(max(new.action.max(), new.prompts.extra["reference"].max())) + 1
    own, ref = (
        torch.zeros(*t.shape[:2], V).scatter_add(2, t, torch.ones(t.shape))
        for t in (new.action, new.prompts.extra["reference"])
    )
    return torch.minimum(own, ref).sum(-1)


def perplexity(new: Pairs, reference: Policy) -> Tensor:
    """Minus how far a candidate's log π₀ is from the reference completion's `[B,2]`."""
    with torch.no_grad():
        shown = Samples(
            new.prompts,
            new.prompts.extra["reference"],
            new.mask[:, :1],
            new.given[:, :1],
            new.logp[:, :1],
            new.ended[:, :1],
        )
        return -(reference.logp(new).sum(-1) - reference.logp(shown).sum(-1)).abs()


def by_prompt(demos: Samples) -> Samples:
    """Demonstrations gathered by prompt, equally many a prompt."""
    rows = [
        (demos.prompts.row == r).nonzero().flatten()
        for r in range(int(demos.prompts.row.max()) + 1)
    ]
    least = min(len(r) for r in rows)
    if least == 0:
        raise InputError(
            "a prompt of this world has no demonstration to refer to; give more with --world.demos"
        )
    index = torch.stack([r[:least] for r in rows])
    own: dict[str, Any] = {
        f: getattr(demos, f)[index, 0] for f in ("action", "mask", "given", "logp", "ended")
    }
    return Samples(demos.prompts[index[:, 0]], **own)
