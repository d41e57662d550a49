"""Continue finished completions after a trigger text, so that the policy thinks once more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import EstimatesMemory, InputError, Rng, Samples, require
from assay.core.policy import EncodesText
from assay.core.samples import IMPORTANCE
from assay.engine.parallel import by_rows

RETHOUGHT = "rethought"  # in `Samples.extra`: whether a completion was continued, `[B,N]`


def trigger_tokens(policy: Any, x: Samples, text: str, *, by: str) -> list[int]:
    """The tokens of a trigger text, without the end token.

    Args:
        policy: Whose tokens they are.
        x: Completions, whose first prompt the text is read after.
        text: The trigger.
        by: Who asks, for the message: a recipe's name.

    Raises:
        InputError: The policy reads no text, or the text has no token.
    """
    read = require(policy, EncodesText, by).encode(x.prompts[:1].text(), [[text]])
    ids = read.action[0, 0][read.mask[0, 0]][:-1].tolist()
    if not ids:
        raise InputError(f"--trigger is '{text}', which has no token; give a text")
    return [int(i) for i in ids]


def rethought(
    policy: Any,
    x: Samples,
    which: Int[Tensor, "B K"],
    count: Int[Tensor, "B"],
    trigger: list[int],
    rng: Rng,
) -> Samples:
    """Continue some completions after the trigger, without their end token.

    A completion is cut where the policy's limit would not leave as many tokens for the
    continuation as it has itself. The trigger's tokens count as the policy's own: their log π is
    that of this policy, so that it can learn to write them unasked.

    Args:
        policy: What continues, a text policy whose completions are contiguous.
        x: Completions without given parts.
        which: Places in N of those to continue, distinct `[B, K]`.
        count: How many of `which`, from the first, are wanted `[B]`.
        trigger: Its tokens.
        rng: Address of the draws.

    Returns:
        Completions `[B, K, T]`; those that are not wanted are absent.

    Raises:
        InputError: A completion holds what the policy did not choose.
    """
    if bool(x.given.any()):
        raise InputError(
            "completions to rethink hold text that the policy did not write; use completions of "
            "one turn"
        )
    first, m = x.pick(which), len(trigger)
    length = first.lengths
    longest = policy.max_tokens if isinstance(policy, EstimatesMemory) else 2 * x.mask.shape[2] + m
    kept = torch.minimum(length - first.ended.long(), longest - m - length).clamp(min=0)
    width = int(kept.max()) + m if kept.numel() else m
    first = first.widened(width)
    at = torch.arange(first.mask.shape[2], device=kept.device)
    own, told = at < kept[..., None], (at >= kept[..., None]) & (at < kept[..., None] + m)
    ids = torch.tensor(trigger, device=kept.device)
    said = ids[(at - kept[..., None]).clamp(0, m - 1)]
    cut = slice(0, width)
    start = Samples(
        first.prompts,
        torch.where(told, said, first.action)[..., cut],
        own[..., cut],
        told[..., cut],
        first.logp.masked_fill(~own, 0.0)[..., cut],
        torch.zeros_like(first.ended),
    )
    y = policy.sample(first.prompts, count, rng, start=start)
    y = replace(y, mask=y.mask | y.given, given=torch.zeros_like(y.given))
    told = told[..., :width]
    told = torch.nn.functional.pad(told, (0, y.mask.shape[2] - width)) & y.mask
    scored = by_rows(policy.logp, y)
    return replace(y, logp=torch.where(told, scored.to(y.logp), y.logp))


def put_back(
    x: Samples, y: Samples, which: Int[Tensor, "B K"], keep: Bool[Tensor, "B K"]
) -> Samples:
    """Replace some completions by what they became, and mark those in `extra[RETHOUGHT]`.

    An engine's importance weight of a replaced completion's token is 1, since the policy itself
    drew it; what else is known of the original alone is 0 there.

    Args:
        x: The completions `[B, N, T]`.
        y: What became of some of them `[B, K, T']`.
        which: Their places in N, distinct `[B, K]`.
        keep: Which replace their original `[B, K]`.
    """
    T = max(x.mask.shape[2], y.mask.shape[2])
    x, y = x.widened(T), y.widened(T)

    def put(into: Tensor, new: Tensor) -> Tensor:
        shape = (*which.shape, *[1] * (into.dim() - 2))
        at = which.reshape(shape).expand(*which.shape, *into.shape[2:])
        return into.scatter(
            1, at, torch.where(keep.reshape(shape), new.to(into), into.gather(1, at))
        )

    extra = {}
    for name, known in x.extra.items():
        new = known.new_full((*which.shape, *known.shape[2:]), float(name == IMPORTANCE))
        extra[name] = put(known, new)
    extra[RETHOUGHT] = put(torch.zeros_like(x.logp[..., 0]), torch.ones_like(y.logp[..., 0]))
    return replace(
        x,
        action=put(x.action, y.action),
        mask=put(x.mask, y.mask),
        given=put(x.given, y.given),
        logp=put(x.logp, y.logp),
        ended=put(x.ended, y.ended),
        extra=extra,
    )


def alone(x: Samples, **more: Float[Tensor, "B N"]) -> Samples:
    """Each present completion as a row of its own, `[R, 1, T]`, with further values in `extra`.

    Args:
        x: Completions `[B, N, T]`.
        more: Values of each completion `[B, N]`, by the name that they have in `extra`.
    """
    row, column = x.present.nonzero().T

    def each(t: Tensor) -> Tensor:
        return t[row, column][:, None]

    fields = ("action", "mask", "given", "logp", "ended")
    return replace(
        x,
        prompts=x.prompts[row],
        **{f: each(getattr(x, f)) for f in fields},
        extra={k: each(v) for k, v in {**x.extra, **more}.items()},
    )
