"""An adapter's change added to a copy of its base: a plain transformers model.

A tied model has one matrix in two places, and an adapter may change one of them alone, or each by
itself. Added in place, a change of the embedding would change the head too, so both get storage of
their own first. The configuration says afterwards whether they are still one.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.models.backbones.mixed_precision import computes_as_stored


def merged(base: Any, name: str | None) -> Any:
    """Return a plain model, in storage of its own.

    Args:
        base: A Base.
        name: The adapter to add; None for the base as it is.

    Raises:
        InputError: peft cannot add an adapter of this kind to a model's weights.
    """
    base.switch(name)
    whole = copy.deepcopy(base.peft)
    if name is None:
        return whole.unload()
    whole.set_adapter(name)
    model = _added(whole)
    dtype = next(base.plain.parameters()).dtype
    for module in model.modules():
        computes_as_stored(module)
    for p in model.parameters():  # modules that were saved whole are float32 where they are trained
        if p.dtype == torch.float32 and dtype in (torch.bfloat16, torch.float16):
            p.data = p.data.to(dtype)
    return model


def merged_copy(live: Any) -> Any:
    """Return a user's peft model as a plain model, in storage of its own.

    Args:
        live: A peft model; it stays as it is.

    Raises:
        InputError: peft cannot add an adapter of this kind to a model's weights.
    """
    return _added(copy.deepcopy(live))


def _added(whole: Any) -> Any:
    """Add the active adapter of a peft model to its weights, and return the plain model."""
    config = whole.get_base_model().config.get_text_config()
    said = getattr(config, "tie_word_embeddings", False)  # as it is before peft writes into it
    tied = _share(whole)
    if tied:
        _divide(whole)
    try:
        with quiet_libraries():
            model = whole.merge_and_unload()
    except (NotImplementedError, ValueError, RuntimeError, AttributeError) as why:
        raise no_merge(why) from why
    if tied:
        _say_tied(model, said)
    return model


def mergeable(base: Any, name: str) -> None:
    """Check that an adapter can be added to one layer of each kind, on copies of them.

    Args:
        base: A Base.
        name: The adapter.

    Raises:
        InputError: It cannot.
    """
    kinds: dict[Any, Any] = {}
    for layer in base.layers:
        if hasattr(layer, "merge") and name in getattr(layer, "_get_available_adapters", set)():
            inner = layer.get_base_layer()
            bias = getattr(inner, "bias", None) is not None
            kinds.setdefault((type(layer), type(inner), bias), layer)
    base.switch(name)
    for layer in kinds.values():
        try:
            copy.deepcopy(layer).merge(adapter_names=[name])
        except (NotImplementedError, ValueError, RuntimeError, AttributeError) as why:
            raise no_merge(why) from why


def no_merge(why: Exception) -> InputError:
    """Say that an adapter cannot be added to a model's weights.

    Args:
        why: What peft raised.
    """
    said = " ".join(str(why).split())[:150]
    return InputError(
        f"peft cannot add this kind of adapter to the model's weights ({said}), and no plain "
        "model could be exported; use plain LoRA (--lora 16)"
    )


def _plain(module: Any) -> Any:
    """Return the module of the model within peft's wrappers."""
    while not isinstance(module, (nn.Linear, nn.Embedding)):
        inner = getattr(module, "base_layer", None) or getattr(module, "original_module", None)
        if inner is None:
            break
        module = inner
    return module


def _share(whole: Any) -> bool:
    """Whether a model's head is its embedding."""
    model = whole.get_base_model()
    ends = _plain(model.get_input_embeddings()), _plain(model.get_output_embeddings())
    return ends[1] is not None and ends[0].weight is ends[1].weight


def _divide(whole: Any) -> None:
    """Give a tied head storage of its own."""
    head = _plain(whole.get_base_model().get_output_embeddings())
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)


def _say_tied(model: Any, said: bool) -> None:
    """Tie the ends of a model again that were tied and are equal; else say that they are not."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    same = torch.equal(embedding.weight, head.weight)
    if same:
        head.weight = embedding.weight
    for one in (model.config, model.config.get_text_config()):
        one.tie_word_embeddings = said and same
