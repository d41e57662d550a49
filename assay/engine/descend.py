"""The only backward(). Micro-batches, processes, finite-ness and the update counter live here and
nowhere else.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.engine import parallel
from assay.engine.optimiser import Optimiser
from assay.engine.threads import together
from assay.errors import InputError, NotFinite

log = logging.getLogger("assay")
_MICRO = 0  # rows a pass, 0 for all: belongs to the run, must not change a number
_STRICT = False


@contextmanager
def micro_batches(rows: int, *, strict: bool = False) -> Iterator[None]:
    """Within: at most `rows` rows a forward pass (0: all); `strict`: a step that is not finite ends
    the run.
    """
    global _MICRO, _STRICT
    before = _MICRO, _STRICT
    _MICRO, _STRICT = rows, strict
    try:
        yield
    finally:
        _MICRO, _STRICT = before


Losses = Tensor | Sequence[Callable[[], Tensor]]


def descend(
    optimiser: Optimiser,
    loss_of: Callable[[Any, Int[Tensor, "b"]], Losses],
    samples: Any,
    *,
    reduce: Callable[[Bool[Tensor, "B N T"]], Tensor],
    rows: Int[Tensor, "r"] | None = None,
) -> dict[str, float]:
    """One update on Σ w·loss, with w = reduce(samples.mask) computed on the whole batch.

    `loss_of(some rows, their index)` is unreduced, of the shape of `reduce`'s weights for those
    rows (`[b,N,T]` for decisions, `[b,N]` for answers, `[b]` for pairs), or several functions that
    return one each: their sum is meant, they share neither weights nor anything else, and none's
    activations outlive its own gradient. `rows`: a minibatch, by row; its denominators are its own.
    One pass of eight rows, eight of one, and two processes of four are the same step.

    Returns {"loss", "grad_norm", "skipped"}. A step whose loss or gradient is not finite changes
    nothing: it is counted in "skipped" and named in the log, or raises NotFinite where the run is
    strict. Raises InputError if the loss has another shape than its weights.
    """
    batch = samples if rows is None else samples[rows]
    place = torch.arange(len(samples)) if rows is None else rows
    weights = reduce(batch.mask)
    mine = parallel.share(len(batch))
    local = torch.arange(len(batch))[mine]
    optimiser.zero_grad()
    total = weights.new_zeros((), dtype=torch.float64)
    for part in local.split(_MICRO or max(1, len(local))):
        if len(part) == 0:
            continue
        w = weights[part.to(weights.device)]
        with torch.enable_grad():  # whatever the mode of whoever pulls on the recipe
            losses = loss_of(batch[part], place[part])
            tasks = [
                functools.partial(_back, loss, w)
                for loss in ([losses] if isinstance(losses, Tensor) else losses)
            ]
            values = together(tasks) if w.device.type == "cpu" else [task() for task in tasks]
        total += torch.stack(values).sum()
    for p in optimiser.parameters if parallel.world_size() > 1 else ():
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        parallel.sum_(p.grad)
    parallel.sum_(total)
    norm = optimiser.norm()
    if not bool(torch.isfinite(norm) & torch.isfinite(total)):
        said = f"loss {float(total):g}, gradient norm {float(norm):g}"
        if _STRICT:
            raise NotFinite(f"a step is not finite ({said})")
        log.warning("a step was skipped: it is not finite (%s)", said)
        optimiser.zero_grad()
        return {"loss": float(total), "grad_norm": float(norm), "skipped": 1.0}
    optimiser.step(norm)
    parallel.meter.add("updates", 1)
    return {"loss": float(total), "grad_norm": float(norm), "skipped": 0.0}


def _back(loss: Tensor | Callable[[], Tensor], w: Tensor) -> Tensor:
    """Σ w·loss, its gradient added to whatever it is a function of."""
    loss = loss if isinstance(loss, Tensor) else loss()
    if loss.shape != w.shape:
        raise InputError(
            f"the loss has shape {list(loss.shape)} and its weights {list(w.shape)}: "
            "a loss is never reduced before descend"
        )
    value = torch.where(w != 0, loss * w.to(loss.dtype), loss.new_zeros(())).sum()
    value.backward()
    return value.detach().double()
