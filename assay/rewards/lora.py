"""LoRA adapters for reward models, merged at the end: what is saved is a plain model with its head.

An adapter that is saved beside its base loses the head: it belongs to neither, and comes back
random without an error. So the head, and what else the base lacked, is trained whole, and `merged`
leaves one model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from assay.core import Rng
from assay.errors import InputError
from assay.models.backbones.lora import draw_by_address, lora_config, peft_needed


def adapted(model: nn.Module, rank: int, fresh: Collection[str], rng: Rng) -> Any:
    """Put an adapter on every linear layer of a model's base.

    Only the adapters, the head and the parameters in `fresh` require a gradient.

    Args:
        model: A sequence classifier.
        rank: The adapters' rank.
        fresh: Parameters that the base lacked.
        rng: The address of the adapters' first weights.

    Returns:
        The model with adapters.

    Raises:
        Missing: peft is not installed.
        InputError: The base has no linear layer.
    """
    peft_needed("--lora")
    from peft import get_peft_model

    base: Any = model.base_model
    inside = {id(p) for p in base.parameters()}
    whole = [n for n, p in model.named_parameters() if n in fresh or id(p) not in inside]
    linear = [n for n, m in model.named_modules() if type(m).__name__ in ("Linear", "Conv1D")]
    targets = [n for n in linear if f"{n}.weight" not in whole]
    if not targets:
        raise InputError("this base has no linear layer for an adapter; leave --lora out")
    with torch.random.fork_rng():  # peft draws from torch's stream
        torch.set_rng_state(rng("scale").generator().get_state())
        made: Any = get_peft_model(model, lora_config(model, rank, targets))
    own = {n.removeprefix("base_model.model."): p for n, p in made.named_parameters()}
    for n, p in own.items():
        p.requires_grad_("lora_" in n or n in whole)
    draw_by_address(((n, p) for n, p in own.items() if "lora_" in n), rng)
    return made.eval()


def merged(model: Any) -> nn.Module:
    """Return the plain model with its adapters added to its weights; without adapters, as it is."""
    if not hasattr(model, "merge_and_unload"):
        return model  # type: ignore[no-any-return]
    plain: nn.Module = model.merge_and_unload()
    return plain
