"""Whether a world's models are divided over the processes of a launch, and how they are opened."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from assay.engine.launchers import divides_weights
from assay.engine.parallel import agreed, rank, world_size
from assay.errors import InputError, Missing
from assay.models.backbones.in_step import GATHER
from assay.models.backbones.pretrained import Pretrained
from assay.models.backbones.sharded import shard
from assay.rewards.encoder import ModelReward
from assay.rewards.encoding import DIVIDED, unread
from assay.rewards.load import open_reward

log = logging.getLogger("assay")


def divides(fsdp: bool, gather: str) -> bool:
    """Whether models are divided over processes: where there are several, and somebody asks for it.

    Args:
        fsdp: Whether the user asks; a launcher may, too.
        gather: How weights are gathered for generation.

    Raises:
        InputError: `gather` is no such way.
        Missing: accelerate is not installed.
    """
    if gather not in GATHER:
        raise InputError(f"--fsdp-gather is '{gather}'; it is {', '.join(GATHER)}")
    wanted = fsdp or divides_weights()
    if wanted and world_size() == 1:
        log.warning(
            "assay: --fsdp divides a model over the processes of a launch, and this is one "
            "process: the model is whole (torchrun --nproc-per-node 2 -m assay run …)"
        )
    if not wanted or world_size() == 1:
        return False
    if importlib.util.find_spec("accelerate") is None:
        raise Missing(
            "--fsdp needs accelerate, by which transformers opens a model without its weights, and "
            "it is not installed: pip install accelerate"
        )
    return True


def divider(config: Any, device: torch.device) -> Callable[[Any], Pretrained]:
    """What divides a model.

    Args:
        config: The world's; says whether layers are recomputed, and how weights are gathered.
        device: Where this process computes.
    """
    how = {"checkpointing": config.checkpointing, "gather": config.fsdp_gather}
    return partial(shard, device=device, **how)


def opened(spec: Any, flag: str, config: Any, device: torch.device, *, divided: bool) -> Any:
    """Open a reward; one that is a whole model is divided as the policy is.

    Args:
        spec: See `rewards.load.open_reward`.
        flag: The flag that gave it.
        config: The world's.
        device: Where this process computes.
        divided: Whether models are divided.
    """
    if not divided:
        return open_reward(spec, flag, timeout=config.reward_timeout).to(device)
    with unread(*([DIVIDED] if rank() else [])):
        reward = agreed(lambda: open_reward(spec, flag, timeout=config.reward_timeout))
    if isinstance(reward, ModelReward):
        return reward.divide(gather=config.fsdp_gather, device=device)
    return reward.to(device)
