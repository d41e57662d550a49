"""Passes of a model whose weights are divided: every process makes as many as any other.

Each layer is gathered from all processes when it is computed, so a process that makes one pass more
would wait for ever. With a gradient the training loop keeps count (`engine.descend`). Without one
the number of passes follows from lengths that differ: of rows, and of completions under way. So
each pass is announced, and a process that has ended makes empty passes until all have. Where the
whole model fits beside what is there, it is gathered once instead, and nothing has to be counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from assay.engine import parallel
from assay.engine.passes import free_bytes

GATHER = ("auto", "model", "layer")
_SHARE = 0.5  # of the free memory that a model gathered for generation may take


@dataclass
class Division:
    """How a body's weights are divided; None stands for not at all.

    Attributes:
        skeleton: The transformers model without weights, to make copies of; None for a model that
            is not copied.
        units: The modules that are gathered by themselves: the body with what is in no layer, and
            the layers.
        gather: "model", "layer" or "auto", for generation and scoring.
        sharing: Processes that take memory from the same pool as this one.
        announced: Whether passes are announced to the other processes now.
        whole: Whether all weights are gathered now.
    """

    skeleton: nn.Module | None
    units: list[Any]
    gather: str
    sharing: int = 1
    announced: bool = field(default=False)
    whole: bool = field(default=False)

    def fits(self, body: Any) -> bool:
        """Whether every process has room for the whole model; all have to ask together."""
        if self.gather != "auto":
            return self.gather == "model"
        need = sum(p.numel() for p in body.parameters()) * body.computing_dtype.itemsize
        room = _SHARE * free_bytes(body.like.device) / self.sharing
        return parallel.most(0 if need <= room else 1) == 0


def body_of(backbone: Any) -> Any:
    """The body that computes for a backbone or a model, if its weights are divided; else None."""
    body = getattr(backbone, "computes_with", backbone)
    (body,) = getattr(body, "divided_as", (body,))
    return body if getattr(body, "division", None) is not None else None


@contextmanager
def uneven_passes(backbone: Any, *, gather: bool = False) -> Iterator[None]:
    """Let processes make different numbers of passes without gradient, within the block.

    All processes have to enter it together, and leave it only when all have come to its end. A
    backbone whose weights are not divided needs none of this.

    Args:
        backbone: Any backbone.
        gather: Whether gathering the whole model once is worth it: many passes follow.
    """
    body = body_of(backbone)
    division: Division | None = None if body is None else body.division
    if division is None or division.announced or division.whole:
        yield
    elif gather and division.fits(body):
        with _gathered(body, division):
            yield
    elif torch.is_grad_enabled() and not gather:
        yield  # one pass, which the training loop counts
    else:
        division.announced = True
        try:
            yield
        finally:
            division.announced = False
        while parallel.most(0):
            idle(body)
        if gather:
            body.reshard()


@contextmanager
def _gathered(body: Any, division: Division) -> Iterator[None]:
    """Hold all weights in every process within the block."""
    division.whole = True
    for unit in division.units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        division.whole = False
        for unit in division.units:
            if unit is not body:
                unit.set_reshard_after_forward(True, recurse=False)
            unit.reshard()


def announce(body: Any) -> None:
    """Say that a pass begins, where others may have none to make."""
    if body.division is not None and body.division.announced:
        parallel.most(1)


@torch.no_grad()
def idle(body: Any) -> None:
    """Make a pass over one token, for the others."""
    token = torch.ones(1, 1, dtype=torch.int64, device=body.like.device)
    body.layers(input_ids=token)


def with_ends(body: Any) -> None:
    """Gather what is in no layer, such as the head, unless it is there.

    It is there after a pass, and stays for the backward pass and for what follows a pass.
    """
    if body.division is not None:
        body.unshard()


def let_go(backbone: Any) -> None:
    """Free what a pass has left gathered, where no backward pass will ask for it."""
    body = body_of(backbone)
    if body is None or body.division.whole or any(p.requires_grad for p in body.parameters()):
        return
    body.reshard()
