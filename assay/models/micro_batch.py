"""Chooses how many completions a training pass holds, from the memory that is free."""

from __future__ import annotations

import logging
import os

import torch

from assay.core import EstimatesMemory, Loop, Task
from assay.engine import parallel, passes, progress

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
    with progress.stage("measuring the memory of a training pass"):
        each = policy.saved_bytes(task.longest_prompt + policy.max_tokens)
    fits = passes.completions_that_fit(
        each,
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


def _sharing(device: torch.device) -> int:
    """Processes that take memory from the same pool: those of this machine, or one a GPU."""
    if device.type == "cuda":
        return 1
    return int(os.environ.get("LOCAL_WORLD_SIZE", parallel.world_size()))
