"""Other models of world hub, which recipes read and never train: a teacher, say."""

from __future__ import annotations

from typing import Any

import torch

from assay.core import Policy
from assay.errors import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.rewards.encoding import open_tokenizer
from assay.worlds.device import dtype_named, open_model


def check_others(config: Any, *, divided: bool) -> None:
    """Check the names before a model is loaded.

    Args:
        config: A HubConfig.
        divided: Whether the policy's weights are divided over processes.

    Raises:
        InputError: A name has no model, or the policy is divided.
    """
    for name, model in config.others.items():
        if not isinstance(model, str) or not model:
            raise InputError(
                f"--others names no model for '{name}'; give a folder or a model id, such as "
                f"{name}=FOLDER"
            )
    if config.others and divided:
        raise InputError(
            "--others are whole in every process, and --fsdp divides the policy because it does "
            "not fit; leave one of them out"
        )


def others_of(config: Any, vocabulary: Stops, device: torch.device) -> dict[str, Policy]:
    """The other models, frozen, which sample as the policy does.

    Args:
        config: A HubConfig.
        vocabulary: The policy's words.
        device: Where they are loaded.

    Raises:
        InputError: A model cannot be opened, or has other tokens than the policy.
    """
    found: dict[str, Policy] = {}
    words = open_tokenizer(config.policy).get_vocab() if config.others else {}
    narrow, _ = dtype_named(config.dtype)
    for name, path in config.others.items():
        if open_tokenizer(path).get_vocab() != words:
            raise InputError(
                f"--others {name}={path} has other tokens than --model {config.policy}; recipes "
                "compare them token by token, so take a model with the same tokenizer"
            )
        model = open_model(path, narrow, config.bits, device)
        size = model.get_output_embeddings().weight.shape[0]
        if size != len(vocabulary):
            raise InputError(
                f"--others {name}={path} has scores for {size} tokens, and --model "
                f"{config.policy} for {len(vocabulary)}; take one with as many"
            )
        kind = Stopping if config.stop else Causal
        found[name] = kind(Pretrained(model), vocabulary, **config.sampling).frozen()
    return found
