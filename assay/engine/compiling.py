"""torch.compile: whether it works here, and what it has cost.

Compiling takes seconds to minutes, at the first pass and at every kind of pass that is new. A run's
readings say how many since the reading before, so that a gain in speed is seen beside its price.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from assay.errors import Missing

log = logging.getLogger("assay")


@dataclass
class Spent:
    """What compiling took in this process, since it was last asked for."""

    seconds: float = 0.0
    graphs: int = 0
    since: float = 0.0
    counted: bool = False


_spent = Spent()


def count_compiling() -> None:
    """Count, from here on, what compiling takes in this process."""
    if _spent.counted:
        return
    _spent.counted = True
    from torch._dynamo.callback import on_compile_end, on_compile_start

    def begin(_: Any) -> None:
        _spent.since = time.perf_counter()

    def end(_: Any) -> None:
        _spent.seconds += time.perf_counter() - _spent.since
        _spent.graphs += 1

    on_compile_start(begin)
    on_compile_end(end)


def compiling_cost() -> dict[str, float]:
    """Return what compiling took since the last call, and begin anew.

    Returns:
        "compile/seconds" and "compile/graphs", or nothing where nothing was compiled. A forward and
        a backward pass are a graph each, and so is each part of a layer around its attention.
    """
    if not _spent.graphs:
        return {}
    found = {"compile/seconds": _spent.seconds, "compile/graphs": float(_spent.graphs)}
    log.info("torch.compile took %.0f s for %d graphs", _spent.seconds, _spent.graphs)
    _spent.seconds, _spent.graphs = 0.0, 0
    return found


def check_compiles(device: torch.device) -> None:
    """Compile a function of one line, so that a run does not fail at its first pass.

    Args:
        device: Where the run computes.

    Raises:
        Missing: torch.compile does not work here.
    """
    x = torch.ones(8, device=device)
    try:
        same = torch.equal(torch.compile(_line)(x), _line(x))
    except Exception as why:  # a missing compiler, a missing triton: each raises its own
        said = " ".join(str(why).split())[:160]
        raise Missing(
            f"--torch-compile: torch.compile does not work here ({type(why).__name__}: {said}); on "
            "a CPU it needs a C++ compiler such as g++, on a GPU triton. Install it, or leave "
            "--torch-compile out"
        ) from why
    if not same:
        raise Missing(
            "--torch-compile: torch.compile gives wrong numbers here; leave --torch-compile out"
        )


def _line(x: Tensor) -> Tensor:
    return x * 2 + 1
