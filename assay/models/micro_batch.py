"""Chooses how many completions a training pass holds, from the memory that is free."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any

import torch

from assay.core import EstimatesMemory, Loop, Task
from assay.engine import parallel, passes, progress
from assay.errors import Missing
from assay.models.backbones.layer_progress import layers_of

log = logging.getLogger("assay")


def micro_batch_size(task: Task, loop: Loop) -> int:
    """Choose the completions a pass, so that the longest ones fit into memory.

    Where a prompt's completions do not, a pass that holds fewer computes the prompt again, and
    layers that are computed again in the backward pass make room for more: the cheaper is chosen,
    and the reference's backbone is told, of which policies are copies. No number changes.

    Args:
        task: Its reference says what a training pass saves, its prompts how long they are.
        loop: Says how many completions a step has.

    Returns:
        0 where all completions of a step fit into one pass, or where the policy does not estimate
        its memory (a table, a policy of somebody else's); else at least 1. All processes of a
        launch get the same number.
    """
    if not isinstance(task.reference, EstimatesMemory):
        return 0
    step = loop.batch_size * max(2, loop.num_generations)  # pairs have two
    shape = _shape(task, loop)
    with progress.stage("measuring the memory of a training pass"):
        fits = _same(_fitting(task, shape, *_bytes(task.reference, shape)), task)
        computes = _recomputing(task.reference)
        if fits < shape.together and computes is not None:
            more = _same(_fitting(task, shape, *_bytes_again(computes, task, shape)), task)
            # a pass costs three forward passes, and four where layers are computed again
            if fits < 1 or _tokens(shape, more) * 4 < _tokens(shape, fits) * 3:
                computes.checkpointing, fits = True, more
                log.info(
                    "layers are computed again in the backward pass: a prompt's completions "
                    "take too much memory (--checkpointing does so from the start)"
                )
    if fits >= step:
        return 0
    log.info("%d of a step's %d completions fit into one pass", max(1, fits), step)
    return max(1, fits)


def recompute_if_needed(task: Task, loop: Loop, size: int) -> None:
    """Compute layers again in the backward pass where passes of this size would not fit.

    Args:
        task: Its reference says what a training pass saves.
        loop: Says how many completions are learnt from together.
        size: Completions a pass, as they were chosen or given.
    """
    computes = _recomputing(task.reference)
    if computes is None:
        return
    shape = _shape(task, loop)
    once, each = _bytes(task.reference, shape)
    needed = size * each + -(-size // shape.together) * once
    if _same(int(2 * needed > passes.free_bytes(shape.device) // _sharing(shape.device)), task):
        computes.checkpointing = True
        log.info(
            "layers are computed again in the backward pass: %d completions a pass take "
            "%.1f GiB without",
            size,
            needed / 2**30,
        )


@dataclass(frozen=True)
class _Shape:
    """The longest prompt and completion in tokens, and the completions of a prompt."""

    prompt: int
    completion: int
    together: int
    shared: bool
    device: torch.device


def _shape(task: Task, loop: Loop) -> _Shape:
    policy: Any = task.reference
    return _Shape(
        prompt=task.longest_prompt,
        completion=int(policy.max_tokens),
        together=_together(task, loop),
        shared=bool(getattr(_computes(policy), "shares_prompts", False)),
        device=task.prompts.tokens.device,
    )


def _computes(policy: Any) -> Any:
    """The backbone that computes the policy's passes."""
    backbone: Any = getattr(policy, "backbone", None)
    return getattr(backbone, "computes_with", backbone)


def _bytes(policy: Any, shape: _Shape) -> tuple[int, int]:
    return pass_bytes(policy, shape.prompt, shape.completion, shape.together)


def _bytes_again(computes: Any, task: Task, shape: _Shape) -> tuple[int, int]:
    """What is saved where layers are computed again, and what one layer saves meanwhile."""
    whole = _bytes(task.reference, shape)
    computes.checkpointing = True
    try:
        inputs = _bytes(task.reference, shape)
    finally:
        computes.checkpointing = False
    layers = len(layers_of(computes.model))
    once, each = (a + b // layers for a, b in zip(inputs, whole, strict=True))
    return once, each


def _recomputing(policy: Any) -> Any | None:
    """What computes the policy's passes, if its layers can be computed again and are not yet."""
    computes = _computes(policy)
    can = getattr(computes, "checkpointing", None) is False and layers_of(computes.model)
    return computes if can else None


def _fitting(task: Task, shape: _Shape, once: int, each: int) -> int:
    return passes.completions_that_fit(
        each,
        once=once,
        together=shape.together,
        reserved=passes.trained_bytes(task.reference.parameters()),
        device=shape.device,
        processes=_sharing(shape.device),
        least=0,
    )


def _tokens(shape: _Shape, fits: int) -> int:
    """Tokens that a prompt's completions cost: where it is shared, a prompt is computed once a
    pass.
    """
    prompts = -(-shape.together // max(1, fits)) if shape.shared else shape.together
    return prompts * shape.prompt + shape.together * shape.completion


def _same(n: int, task: Task) -> int:
    return int(parallel.same_everywhere(torch.tensor(n, device=task.prompts.tokens.device)))


def pass_bytes(policy: Any, prompt: int, completion: int, n: int) -> tuple[int, int]:
    """Count what a training pass saves for a prompt, and for each of its n completions.

    Args:
        policy: It estimates its memory. Where its backbone computes a prompt once, a completion
            saves its own tokens, and where keys are laid out in rows the keys of its row.
        prompt: Tokens of the longest prompt.
        completion: Tokens of the longest completion.
        n: Completions of a prompt.

    Returns:
        (bytes a prompt, bytes a completion).
    """
    computes = _computes(policy)
    if not getattr(computes, "shares_prompts", False):
        return 0, policy.saved_bytes(prompt + completion)
    row = prompt + completion
    repeated = 0 if n * completion <= row else row * computes.key_bytes
    return policy.saved_bytes(prompt), policy.saved_bytes(completion) + repeated


def _together(task: Task, loop: Loop) -> int:
    """Completions of a prompt that are learnt from together: two where there are pairs."""
    try:
        return 2 if len(task.pairs) else loop.num_generations
    except Missing:
        return max(1, loop.num_generations)


def _sharing(device: torch.device) -> int:
    """Processes that take memory from the same pool: those of this machine, or one a GPU."""
    if device.type == "cuda":
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", parallel.world_size()))
