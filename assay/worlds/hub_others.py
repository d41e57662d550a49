"""Other models of world hub, which recipes read and never train: a teacher, say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from assay.core import Policy
from assay.errors import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.asking import Solver
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.rewards.encoding import open_tokenizer
from assay.worlds.device import check_positions, dtype_named, open_model
from assay.worlds.hub_reference import vocabulary_of


def check_others(config: Any, *, divided: bool) -> None:
    """Check the names before a model is loaded.

    Args:
        config: A HubConfig.
        divided: Whether the policy's weights are divided over processes.

    Raises:
        InputError: A name has no model, a price no name, or the policy is divided or drawn by an
            engine.
    """
    for name, model in config.others.items():
        if not isinstance(model, str) or not model:
            raise InputError(
                f"--others names no model for '{name}'; give a folder or a model id, such as "
                f"{name}=FOLDER"
            )
    wrong = [n for n, p in config.prices.items() if n not in config.others or not p >= 0]
    if wrong or config.turns < 0 or config.reply_tokens < 1 or (config.turns and not config.others):
        raise InputError(
            f"--turns is {config.turns}, --prices {dict(config.prices)} and --reply-tokens "
            f"{config.reply_tokens}; who can be asked stands in --others NAME=MODEL, a price is of "
            "one of these names and at least 0, and an answer has at least 1 token"
        )
    if config.turns and config.sampler:
        raise InputError(
            "answers of --others are written into completions that are drawn here, and --sampler "
            "draws them elsewhere; leave out --sampler, or give --turns 0"
        )
    if config.others and divided:
        raise InputError(
            "--others are whole in every process, and --fsdp divides the policy because it does "
            "not fit; leave one of them out"
        )


def others_of(config: Any, vocabulary: Stops, device: torch.device) -> dict[str, Policy]:
    """The other models, frozen, which sample as the policy does; none where it asks them.

    Args:
        config: A HubConfig.
        vocabulary: The policy's words.
        device: Where they are loaded.

    Raises:
        InputError: A model cannot be opened, or has other tokens than the policy.
    """
    found: dict[str, Policy] = {}
    if config.turns:
        return found
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


def solvers_of(config: Any, device: torch.device) -> dict[str, Solver]:
    """The models that the policy asks, by name; none without turns.

    Args:
        config: A HubConfig.
        device: Where they are loaded.

    Raises:
        InputError: A model cannot be opened, or is too short for a query and its answer.
    """
    found: dict[str, Solver] = {}
    narrow, _ = dtype_named(config.dtype)
    for name, path in config.others.items() if config.turns else ():
        model = open_model(path, narrow, config.bits, device)
        check_positions(path, model, config.max_tokens, config.reply_tokens)
        asked = SimpleNamespace(policy=path, chat=config.chat, stop=(), turns=0)
        vocabulary = vocabulary_of(asked, model)
        vocabulary.device = device
        chat = config.chat and bool(getattr(vocabulary.tokenizer, "chat_template", None))
        policy = Causal(Pretrained(model), vocabulary, top_k=1, max_tokens=config.reply_tokens)
        price = config.prices.get(name, model.num_parameters() / 1e9)
        found[name] = Solver(policy.frozen(), float(price), chat)
    return found
