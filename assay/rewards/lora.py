"""Low-rank adapters for judges in the making, merged when they are made: what is saved is a plain
model, its head included.

An adapter saved beside its base loses the head: it is no part of either, and comes back random,
without an error. Here the head and whatever else the base lacked are trained whole, the base's
linear layers by adapters, and `merged` leaves one model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from assay.core import Missing, Rng
from assay.errors import InputError


def adapted(model: nn.Module, rank: int, fresh: Collection[str], rng: Rng) -> Any:
    """The model with adapters on every linear layer of its base; only they, the head and `fresh`
    parameters require a gradient.

    First weights are by address. Raises Missing without peft, InputError where the base has no
    linear layer.
    """
    if importlib.util.find_spec("peft") is None:
        raise Missing("--lora needs peft: pip install 'assay[lora]'")
    from peft import LoraConfig, get_peft_model

    base: Any = model.base_model
    inside = {id(p) for p in base.parameters()}
    whole = [n for n, p in model.named_parameters() if n in fresh or id(p) not in inside]
    targets = [
        n
        for n, m in model.named_modules()
        if type(m).__name__ in ("Linear", "Conv1D") and f"{n}.weight" not in whole
    ]
    if not targets:
        raise InputError("this base has no linear layer for an adapter; leave --lora out")
    turned = any(
        type(m).__name__ == "Conv1D" for m in model.modules()
    )  # GPT-2 keeps its weights the other way round
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets, fan_in_fan_out=turned
    )
    with (
        torch.random.fork_rng()
    ):  # peft draws from torch's stream; what it draws is drawn again below
        torch.set_rng_state(rng("scale").generator().get_state())
        made: Any = get_peft_model(model, config)
    for n, p in made.named_parameters():
        own = n.removeprefix("base_model.model.")
        p.requires_grad_("lora_" in own or own in whole)
        if "lora_" in own and bool(
            (p != 0).any()
        ):  # what peft starts at 0 keeps the new judge equal to the base
            draw = rng(own).normal(torch.arange(p.numel())).view_as(p)
            with torch.no_grad():
                p.copy_(float(p.detach().std()) * draw)
    return made.eval()


def merged(model: Any) -> nn.Module:
    """The plain model, adapters added to its weights; a model that has none as it is."""
    if not hasattr(model, "merge_and_unload"):
        return model  # type: ignore[no-any-return]
    plain: nn.Module = model.merge_and_unload()
    return plain
