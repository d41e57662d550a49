"""A trained policy as a plain transformers model, in memory or as a folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from assay.errors import InputError
from assay.models.backbones.adapters import Adapted
from assay.models.backbones.in_step import body_of
from assay.models.backbones.pretrained import Pretrained


def pretrained_model(policy: Any, *, own: bool = True) -> Any:
    """A policy's weights as a plain transformers model, adapters merged.

    Its logits are those of the policy before temperature. Its generation settings are the policy's:
    temperature, top_k, top_p, token limits, every token that ends a completion, and the tokens
    that it never generates: padding, BOS, and ids beyond its tokenizer.

    Args:
        policy: A language model of world hub, trained or not.
        own: Whether the model gets storage of its own; with False it may be the policy's own, and
            must then not be changed.

    Returns:
        A `PreTrainedModel` in evaluation mode.

    Raises:
        InputError: The policy is no model of transformers.
    """
    backbone: Any = getattr(policy, "backbone", None)
    if body_of(backbone) is not None:
        raise InputError(
            "this policy's weights are divided over processes; export the run's folder in one "
            "process when it is done (assay export RUN --out model)"
        )
    if hasattr(backbone, "merged"):
        model = backbone.merged()
    elif isinstance(backbone, Pretrained):
        model = copy.deepcopy(backbone.model) if own else backbone.model
    else:
        raise InputError(
            f"a {type(policy).__name__} on a {type(backbone).__name__} is no model of "
            "transformers; policies of world hub are"
        )
    if getattr(model, "generation_config", None) is not None:
        # a config of its own: the model may be the policy's
        model.generation_config = copy.deepcopy(model.generation_config)
        model.generation_config.update(**generation_settings(policy))
    return model.eval()


def generation_settings(policy: Any) -> dict[str, Any]:
    """A policy's sampling parameters by the names of transformers' GenerationConfig.

    Args:
        policy: A language model.
    """
    vocabulary = policy.vocabulary
    ends = list(vocabulary.ends)
    return {
        "do_sample": True,
        "temperature": float(policy.temperature),
        "top_k": int(policy.top_k),
        "top_p": float(policy.top_p),
        "max_new_tokens": int(policy.max_tokens),
        "min_new_tokens": int(policy.min_tokens) or None,
        "eos_token_id": ends if len(ends) > 1 else ends[0],
        "pad_token_id": int(vocabulary.pad),
        "suppress_tokens": list(vocabulary.barred) or None,
    }


def tokenizer_of(policy: Any) -> Any:
    """A policy's transformers tokenizer, None where it has none."""
    return getattr(getattr(policy, "vocabulary", None), "tokenizer", None)


def save(policy: Any, folder: Path) -> None:
    """Write a policy as a folder that transformers loads: config, weights, tokenizer.

    Args:
        policy: A language model.
        folder: Made where it does not exist.

    Raises:
        InputError: Transformers could not load the policy.
    """
    backbone: Any = getattr(policy, "backbone", None)
    ours = not hasattr(backbone, "merged") and hasattr(backbone, "save_pretrained")
    model = backbone if ours else pretrained_model(policy, own=False)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        model.save_pretrained(folder)
    _save_tokenizer(policy, folder)


def save_adapter(policy: Any, folder: Path) -> str:
    """Write a policy's adapter alone, as a folder that peft loads on top of the base model.

    Args:
        policy: A policy that was trained with adapters.
        folder: Made where it does not exist.

    Returns:
        The name of the base model.

    Raises:
        InputError: The policy has no adapter of its own.
    """
    backbone = getattr(policy, "backbone", None)
    if not isinstance(backbone, Adapted) or backbone.name is None:
        raise InputError(
            "this policy has no adapter: all of its weights were trained, or it is the reference; "
            "leave out --adapter"
        )
    folder.mkdir(parents=True, exist_ok=True)
    base = backbone.save_adapter(folder)
    _save_tokenizer(policy, folder)
    return base


def _save_tokenizer(policy: Any, folder: Path) -> None:
    tokenizer = tokenizer_of(policy)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
