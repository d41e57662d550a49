"""LoRA adapters by peft, set up in one way for policies and for reward models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from assay.core.rng import Rng
from assay.errors import InputError
from assay.registry.extras import need


def peft_needed(what: str) -> None:
    """Check that peft is installed.

    Args:
        what: The flag that needs it, for the message.

    Raises:
        Missing: peft is not installed.
    """
    need("peft", "lora", what)


def lora_config(model: nn.Module, rank: int, targets: str | list[str] = "all-linear") -> Any:
    """Return peft's configuration of LoRA with scale 2 and no dropout.

    Args:
        model: The model that gets the adapters.
        rank: Their rank.
        targets: The layers that get one; all linear layers by default.

    Returns:
        A `peft.LoraConfig`.

    Raises:
        InputError: The rank is below 1.
    """
    from peft import LoraConfig

    if rank < 1:
        raise InputError(f"--lora is {rank}; give a rank of at least 1, or 0 to train all weights")

    # GPT-2 stores its weights transposed
    turned = any(type(m).__name__ == "Conv1D" for m in model.modules())
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=targets,
        fan_in_fan_out=turned,
    )


@torch.no_grad()
def draw_by_address(weights: Iterable[tuple[str, nn.Parameter]], rng: Rng) -> None:
    """Draw an adapter's first weights again, each from its own address, at the scale of peft's.

    peft draws from torch's global stream. What it starts at 0 stays 0, so that the adapted model
    equals its base.

    Args:
        weights: The adapter's weights, each with its address.
        rng: The address of all of them.
    """
    for address, p in weights:
        if p.dim() > 1 and bool((p != 0).any()):
            scale = float(p.detach().float().std())
            draw = rng(address).normal(torch.arange(p.numel())).view_as(p)
            p.data.copy_((scale * draw).to(p))
