"""Process verifiers: a network that predicts a prover's chance of success from any prefix.

    collect ─► labels (continuations of prefixes) ─► fit ─► chance(samples)

The labels are bought once, before training: every continuation is a completion that the prover
generates and the outcome reward scores, and both are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.core import Loop, Policy, Prompts, Rng, Samples, order
from assay.engine.descend import descend
from assay.formulas.process import step_advantages, step_mask
from assay.formulas.reduce import per_completion_once

Success = Callable[[Samples], Tensor]


@dataclass(frozen=True)
class Labels:
    """Prefixes with the prover's successes after each.

    A prefix is a completion up to the end of a step; entry 0 is the bare prompt, entry s + 1 the
    end of step s. The prompt is labelled once, at its first completion.

    Attributes:
        samples: Completions that the prefixes are cut from, `[B,N,T]`.
        step: Number of each token's step, `[B,N,T]`.
        wins: Continuations that succeeded, `[B,N,S+1]`; 0 where none was made.
        here: Which prefixes were continued, `[B,N,S+1]`.
    """

    samples: Samples
    step: Int[Tensor, "B N T"]
    wins: Float[Tensor, "B N S1"]
    here: Bool[Tensor, "B N S1"]


def collected(
    policy: Policy,
    prover: Policy,
    prompts: Prompts,
    *,
    step_of: Callable[[Samples], Tensor],
    success: Success,
    solutions: int,
    prefixes: int,
    rollouts: int,
    rng: Rng,
) -> Labels:
    """Cut prefixes from completions of a policy, and let the prover continue each.

    Args:
        policy: Samples the completions.
        prover: Continues the prefixes.
        prompts: B prompts.
        step_of: completions → number of each token's step.
        success: completions → 1 where they succeeded, `[B,N]`.
        solutions: Completions a prompt, N.
        prefixes: Prefixes of a completion at most, drawn among the ends of its steps but the last.
        rollouts: Continuations of a prefix, and of each prompt.
        rng: Address of all of these.
    """
    x = policy.sample(prompts, solutions, rng("solutions"))
    step = step_of(x)
    B, N, S = step_mask(step).shape
    ends = torch.arange(-1, S, device=step.device)
    inner = (ends >= 0) & (ends < step.amax(-1, keepdim=True))
    b, n = torch.arange(B)[:, None, None], torch.arange(N)[:, None]
    u = rng("places").uniform(b, n, torch.arange(S + 1)).to(step.device)
    drawn = torch.where(inner, u, 2.0).argsort(-1).argsort(-1) < prefixes
    here = inner & drawn
    here[:, 0, 0] = True
    wins = continued(prover, x, step, here, success, rollouts, rng("prover"))
    return Labels(x, step, wins, here)


def continued(
    prover: Policy,
    x: Samples,
    step: Int[Tensor, "B N T"],
    here: Bool[Tensor, "B N S1"],
    success: Success,
    rollouts: int,
    rng: Rng,
    force: Int[Tensor, "L"] | None = None,
) -> Float[Tensor, "B N S1"]:
    """Count how many continuations of each wanted prefix succeed.

    Args:
        prover: Continues the prefixes.
        x: Completions, `[B,N,T]`.
        step: Number of each token's step, −1 outside.
        here: Which prefixes are continued: entry 0 the prompt, entry s + 1 the end of step s.
        success: completions → 1 where they succeeded.
        rollouts: Continuations of each.
        rng: Address of the continuations.
        force: Tokens that every prefix is continued by, such as what begins an answer; a prefix
            that leaves no room for them does not succeed.

    Returns:
        Counts; 0 where nothing is continued.
    """
    B, N, S1 = here.shape
    T = x.mask.shape[2]
    flat = here.flatten(1)
    widest = int(flat.sum(-1).max())
    first = flat.long().argsort(dim=-1, descending=True, stable=True)[:, :widest]
    which = torch.arange(N, device=step.device).repeat_interleave(S1).expand(B, -1).gather(1, first)
    upto = torch.arange(-1, S1 - 1, device=step.device).repeat(N).expand(B, -1).gather(1, first)
    start = x.pick(which)
    places = which[..., None].expand(-1, -1, T)
    kept = step.gather(1, places) <= upto[..., None]
    start = replace(
        start,
        mask=start.mask & kept,
        given=start.given & kept,
        logp=torch.where(kept, start.logp, 0.0),
        ended=torch.zeros_like(start.ended),
    )
    fits = torch.ones_like(start.ended)
    if force is not None:
        start, fits = forced(start, force, most=getattr(prover, "max_tokens", T + len(force)))
    times = torch.arange(widest, device=step.device).repeat_interleave(rollouts).expand(B, -1)
    y = prover.sample(x.prompts, flat.sum(-1) * rollouts, rng, start.pick(times))
    won = torch.where(y.present & fits.gather(1, times), success(y), 0.0)
    won = won.unflatten(1, (-1, rollouts)).sum(-1)
    out = won.new_zeros(B, N * S1).scatter(1, first, won * flat.gather(1, first))
    return out.view(B, N, S1)


def forced(
    start: Samples, force: Int[Tensor, "L"], *, most: int
) -> tuple[Samples, Bool[Tensor, "B N"]]:
    """Append given tokens to beginnings of completions.

    Args:
        start: Beginnings, without gaps between their tokens.
        force: The tokens.
        most: Tokens of a completion, at most.

    Returns:
        (the beginnings, `[B,N,T']`; which of them had room). The others are as they were.
    """
    here = start.mask | start.given
    count, L = here.sum(-1, keepdim=True), len(force)
    fits = count[..., 0] + L <= most
    wide = start.widened(here.shape[2] + L)
    T = wide.mask.shape[2]
    offset = torch.arange(T, device=count.device) - count
    new = (offset >= 0) & (offset < L) & fits[..., None]
    action = torch.where(new, force[offset.clamp(0, L - 1)], wide.action)
    # no longer than the prover takes
    return _narrowed(replace(wide, action=action, given=wide.given | new), min(T, most)), fits


def _narrowed(x: Samples, T: int) -> Samples:
    names = ("action", "mask", "given", "logp")
    return replace(x, **{name: getattr(x, name)[:, :, :T] for name in names})


def progress(
    q: Float[Tensor, "B N S1"], outcome: Float[Tensor, "B N"], step: Int[Tensor, "B N T"]
) -> Float[Tensor, "B N S"]:
    """By how much each step changes the chance of success; after the last, it is the outcome.

    Args:
        q: Chances of success, of the bare prompt and after each step.
        outcome: Outcomes, 0 or 1.
        step: Number of each token's step.
    """
    last = step.amax(-1, keepdim=True)
    place = torch.arange(q.shape[-1] - 1, device=step.device)
    after = torch.where(place == last, outcome[..., None], q[..., 1:])
    return step_advantages(after, q[..., 0], step_mask(step))


def values(verifier: nn.Module, x: Samples, step: Int[Tensor, "B N T"]) -> Float[Tensor, "B N S1"]:
    """Logits of the chance of success, of the bare prompt and after each step.

    Args:
        verifier: A value head of one output.
        x: Completions.
        step: Number of each token's step.
    """
    each = verifier(x)[..., 0]  # [B,N,T+1]
    S, T = step_mask(step).shape[-1], step.shape[-1]
    place = torch.arange(1, T + 1, device=step.device).expand(step.shape)
    inside = step >= 0
    last = torch.zeros(*step.shape[:2], S + 1, dtype=torch.int64, device=step.device)
    last.scatter_reduce_(-1, torch.where(inside, step + 1, 0), inside * place, "amax")
    last[..., 0] = 0
    return each.gather(-1, last)


def fitted_verifier(
    verifier: nn.Module,
    labels: Labels,
    target: Float[Tensor, "B N S1"],
    *,
    loop: Loop,
    held_out: float,
    rng: Rng,
) -> dict[str, float]:
    """Fit a verifier to soft labels by cross-entropy, and say how far it errs on unseen prompts.

    Args:
        verifier: A value head of one output; trained in place.
        labels: Prefixes.
        target: The label of each, a chance of success.
        loop: Updates, rows a batch and learning rate of the fit.
        held_out: Share of the rows that the fit does not see, at least one of them.
        rng: Address of the split and of the order.

    Returns:
        "labels": prefixes; "error": mean square error on the rows held out; "error_of_mean": that
        of the mean label of the other rows. A verifier that knows nothing has no less than that.
    """
    opt, B = loop.optimiser(verifier), len(labels.samples)
    mixed = rng("held out").permutation(B)
    cut = min(B - 1, max(1, round(held_out * B)))
    unseen, seen = mixed[:cut], mixed[cut:]
    x, step, here = labels.samples, labels.step, labels.here
    for rows in _batches(seen, loop, rng):

        def loss(part: Samples, i: Tensor, rows: Tensor = rows) -> Tensor:
            r = rows[i]
            z = values(verifier, part, step[r])
            z = F.pad(z, (0, here.shape[-1] - z.shape[-1]))
            each = F.binary_cross_entropy_with_logits(z, target[r].to(z), reduction="none")
            return torch.where(here[r], each, each.new_zeros(())).sum(-1)

        descend(opt, loss, x[rows], reduce=per_completion_once)
    with torch.no_grad():
        q = torch.sigmoid(values(verifier, x, step))
    truth, mean = target[unseen][here[unseen]], target[seen][here[seen]].mean()
    return {
        "labels": float(here.sum()),
        "error": float((q[unseen][here[unseen]] - truth).square().mean()),
        "error_of_mean": float((mean - truth).square().mean()),
    }


def _batches(seen: Tensor, loop: Loop, rng: Rng) -> Iterator[Tensor]:
    for t in range(loop.max_steps):
        yield seen[order(len(seen), loop.batch_size, t, rng)]
