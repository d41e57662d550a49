"""Chooses how many completions a training pass holds, from the memory that is free."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from assay.core import EstimatesMemory, Loop, Task
from assay.engine import parallel, passes, progress
from assay.errors import Missing

log = logging.getLogger("assay")


def micro_batch_size(task: Task, loop: Loop) -> int:
    """Choose the completions a pass, so that the longest ones fit into memory.

    Args:
        task: Its reference says what a training pass saves, its prompts how long they are.
        loop: Says how many completions a step has.

    Returns:
        0 where all completions of a step fit into one pass, or where the policy does not estimate
        its memory (a table, a policy of somebody else's); else at least 1. All processes of a
        launch get the same number.
    """
    policy = task.reference
    if not isinstance(policy, EstimatesMemory):
        return 0
    device = task.prompts.tokens.device
    prompt, completion = task.longest_prompt, policy.max_tokens
    with progress.stage("measuring the memory of a training pass"):
        together = _together(task, loop)
        once, each = pass_bytes(policy, prompt, completion, together)
    fits = passes.completions_that_fit(
        each,
        once=once,
        together=together,
        trained=sum(p.numel() for p in policy.parameters()),
        device=device,
        processes=_sharing(device),
    )
    fits = int(parallel.same_everywhere(torch.tensor(fits, device=device)))
    step = loop.batch_size * max(2, loop.num_generations)  # pairs have two
    if fits >= step:
        return 0
    log.info("%d of a step's %d completions fit into one pass", fits, step)
    return fits


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
    backbone: Any = getattr(policy, "backbone", None)
    computes: Any = getattr(backbone, "computes_with", backbone)
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
