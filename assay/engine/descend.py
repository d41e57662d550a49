"""The only backward(): one update, whatever the pieces in which its batch is computed.

Micro-batches, processes, steps that are not finite and the count of updates live here alone.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.engine import parallel, progress, shards
from assay.engine.gauge import gauge
from assay.engine.nonfinite import Step, all_finite, nonfinite
from assay.engine.optimiser import Optimiser
from assay.engine.passes import Split, pieces
from assay.engine.threads import together
from assay.errors import InputError, NotFinite

log = logging.getLogger("assay")
_COMPLETIONS = 0  # a pass, 0 for all: belongs to the run, must not change a number
_STRICT = False

Index = Int[Tensor, "b"] | tuple[Int[Tensor, "b 1"], Int[Tensor, "1 n"]]
Pass = tuple[Int[Tensor, "b"], Int[Tensor, "k"] | None]
Losses = Tensor | Sequence[Callable[[], Tensor]]


@contextmanager
def micro_batches(completions: int, *, strict: bool = False) -> Iterator[None]:
    """Bound the passes of every `descend` within the block.

    Args:
        completions: Completions a forward and backward pass, at most; 0 for the whole batch. A
            prompt whose completions may not be parted is one pass, however many they are.
        strict: Raise NotFinite at a step that is not finite, instead of skipping it.
    """
    global _COMPLETIONS, _STRICT
    before = _COMPLETIONS, _STRICT
    _COMPLETIONS, _STRICT = completions, strict
    try:
        yield
    finally:
        _COMPLETIONS, _STRICT = before


def descend(
    optimiser: Optimiser,
    loss_of: Callable[[Any, Any], Losses],
    samples: Any,
    *,
    reduce: Callable[[Bool[Tensor, "B N T"]], Tensor],
    rows: Int[Tensor, "r"] | None = None,
    split: Split = "prompts",
) -> dict[str, float]:
    """Make one update on Σ w·loss, with w = reduce(samples.mask) of the whole batch.

    One pass of eight prompts, eight of one, and two processes of four are the same step. Where
    weights are divided over processes, one with fewer passes than another repeats a pass with
    weight 0, `gauge.muted` meanwhile.

    Args:
        optimiser: Of the parameters to update.
        loss_of: Called as `loss_of(piece, index)`; returns the unreduced loss in the shape of
            `reduce`'s weights for that piece: `[b,N,T]` for decisions, `[b,N]` for completions,
            `[b]` for pairs. It may return several functions that return one loss each: their sum is
            meant, they share neither weights nor activations, and none's activations outlive its
            own gradient.
        samples: The batch, B prompts with N completions each.
        reduce: Weights from the mask, see `assay.formulas.reduce`.
        rows: A mini-batch, by row; its denominators are its own.
        split: What a micro-batch may part. "prompts": a prompt's completions stay together.
            "completions": the loss of a completion depends on no other completion, so a piece may
            hold some of a prompt's. What the loss takes from the whole batch is indexed by
            `index` alone, as in `advantage[index]` with an advantage `[B,N,…]`.

    Returns:
        "loss", "grad_norm" before clipping, the "learning_rate" of the update, and "skipped": 1 for
        a step whose loss or gradient is not finite. Such a step changes nothing, has no learning
        rate, and is named in the log.

    Raises:
        NotFinite: A step is not finite and the run is strict.
        InputError: The loss has another shape than its weights.
    """
    batch = samples if rows is None else samples[rows]
    place = torch.arange(len(samples)) if rows is None else rows
    total = _gradient(optimiser, loss_of, batch, place, reduce, split)
    norm = optimiser.norm()
    if not bool(torch.isfinite(norm) & torch.isfinite(total)):
        return skipped(optimiser, batch, loss=float(total), grad_norm=float(norm))
    nonfinite.clear()
    optimiser.step(norm)
    optimiser.zero_grad()  # sampling has their memory
    parallel.meter.add("updates", 1)
    return {
        "loss": float(total),
        "grad_norm": float(norm),
        "learning_rate": optimiser.rate,
        "skipped": 0.0,
    }


def inner_products(
    optimiser: Optimiser,
    losses: Sequence[Callable[[Any, Any], Losses]],
    samples: Any,
    *,
    reduce: Callable[[Bool[Tensor, "B N T"]], Tensor],
    split: Split = "prompts",
) -> Float[Tensor, "K K"]:
    """Compute ⟨g_i, g_j⟩ of the gradients of K losses on one batch, and change nothing.

    Each gradient is clipped to the optimiser's norm, as a step on it would be. K gradients are held
    at a time.

    Args:
        optimiser: Of the parameters that the gradients are of; it makes no step.
        losses: Each as `loss_of` of `descend`.
        samples: The batch.
        reduce: Weights from the mask, as in `descend`.
        split: What a micro-batch may part, as in `descend`.

    Returns:
        In float64; NaN where a gradient is not finite.
    """
    each: list[list[Tensor | None]] = []
    scale = []
    for loss_of in losses:
        _gradient(optimiser, loss_of, samples, torch.arange(len(samples)), reduce, split)
        norm = float(optimiser.norm())
        scale.append(optimiser.clip / norm if norm > optimiser.clip else 1.0)
        each.append([p.grad for p in optimiser.parameters])
        optimiser.zero_grad()
    device = optimiser.parameters[0].device
    found = torch.zeros(2, len(each), len(each), dtype=torch.float64, device=device)
    for i, mine in enumerate(each):
        for j, theirs in enumerate(each[: i + 1]):
            for a, b in zip(mine, theirs, strict=True):
                if a is None or b is None:
                    continue
                product = shards.local(a).double().flatten() @ shards.local(b).double().flatten()
                found[int(shards.is_shard(a)), i, j] += scale[i] * scale[j] * product
    if shards.present():  # whole parameters in [0], divided ones in [1]
        parallel.sum_(found[1])
    lower = found.sum(0).cpu()
    return lower + lower.tril(-1).T


def _gradient(
    optimiser: Optimiser,
    loss_of: Callable[[Any, Any], Losses],
    batch: Any,
    place: Tensor,
    reduce: Callable[[Bool[Tensor, "B N T"]], Tensor],
    split: Split,
) -> Tensor:
    """Leave the gradient of Σ w·loss in the parameters, whatever the pieces; return the loss."""
    weights = reduce(batch.mask)
    mine = torch.arange(len(batch))[parallel.share(len(batch))]
    optimiser.zero_grad()
    total, N = weights.new_zeros((), dtype=torch.float64), batch.mask.shape[1]

    def compute(part: Tensor, among: Tensor | None, weights: Tensor) -> Tensor:
        """Add the gradient of one pass; return its loss."""
        w, piece = weights[part.to(weights.device)], batch[part]
        index: Any = place[part]
        if among is not None:
            w, piece = w[:, among.to(w.device)], piece.pick(among.expand(len(part), -1))
            index = index[:, None], among[None]
        nonfinite.piece(part, among)
        with torch.enable_grad():  # whatever the mode of the code that pulls on the recipe
            losses = loss_of(piece, index)
            tasks = [
                functools.partial(_back, loss, w)
                for loss in ([losses] if isinstance(losses, Tensor) else losses)
            ]
            side_by_side = w.device.type == "cpu" and not shards.present()
            found = together(tasks) if side_by_side else [task() for task in tasks]
        for _, bad in found:
            nonfinite.suspect("loss", batch, bad)
        return torch.stack([value for value, _ in found]).sum()

    own = list(pieces(mine, N, _COMPLETIONS, split))
    # where weights are divided, every pass gathers them: a process with fewer has to join in
    spare = parallel.most(len(own)) - len(own) if shards.present() else 0
    for part, among in _announced(iter(own), len(mine), N):
        total += compute(part, among, weights)
    for _ in range(spare):
        part, among = next(pieces(torch.arange(1), N, _COMPLETIONS, split))
        with gauge.mute():
            total += compute(part, among, torch.zeros_like(weights))
    nonfinite.whole()
    for p in optimiser.parameters if parallel.world_size() > 1 else ():
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        if not shards.is_shard(p):  # a divided one's is summed by the backward pass
            parallel.sum_(p.grad)
    parallel.sum_(total)
    return total


def skipped(optimiser: Optimiser, batch: Any, **seen: float) -> dict[str, float]:
    """Skip an update whose numbers are not finite: nothing changes, and it is said.

    Args:
        optimiser: Of the parameters that are left as they are.
        batch: The update's completions, one of which may be named.
        seen: Numbers that are not finite, such as loss=nan.

    Returns:
        What `descend` returns of such a step.

    Raises:
        NotFinite: The run is strict.
    """
    said = ", ".join(f"{k.replace('grad_norm', 'gradient norm')} {v:g}" for k, v in seen.items())
    finite = all_finite(optimiser.parameters)
    if shards.present():
        finite = parallel.most(0 if finite else 1) == 0
    told = nonfinite.step(Step(said, finite, skipped=not _STRICT), batch)
    if _STRICT:
        raise NotFinite(f"a step is not finite ({said})")
    if not told:
        log.warning("a step was skipped: it is not finite (%s)", said)
    optimiser.zero_grad()
    return {**seen, "skipped": 1.0}


def _announced(parts: Iterator[Pass], rows: int, n: int) -> Iterator[Pass]:
    """The passes, each announced as part of the learning from all completions."""
    with progress.stage("learning", rows * n, "completions") as learning:
        for part, among in parts:
            some = len(part) * (n if among is None else len(among))
            learning.upcoming(some)
            yield part, among
            learning.advance(some)


def _back(loss: Tensor | Callable[[], Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
    """Add the gradient of Σ w·loss to what it is a function of; return its value, and where the
    loss is not finite.
    """
    loss = loss if isinstance(loss, Tensor) else loss()
    if loss.shape != w.shape:
        raise InputError(
            f"the loss has shape {list(loss.shape)} and its weights {list(w.shape)}: "
            "a loss is never reduced before descend"
        )
    weighted = torch.where(w != 0, loss * w.to(loss.dtype), loss.new_zeros(()))
    value = weighted.sum()
    value.backward()
    return value.detach().double(), ~torch.isfinite(weighted.detach())
