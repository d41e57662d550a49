"""The reference of world hub: the model, its words, and what generates for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from assay.core import Prompts, Rng
from assay.errors import InputError
from assay.models.policies.asking import CLOSE, Asking, Solver
from assay.models.policies.causal import Causal
from assay.models.policies.open_engine import open_engine, verified
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.policies.weight_sync import SyncConfig, WeightSync
from assay.models.samplers.weight_files import rank_of
from assay.registry.extras import need
from assay.registry.live import opened
from assay.rewards.encoding import open_tokenizer
from assay.worlds.chat_template import end_tokens, own_ends, warn_without_generation_prompt
from assay.worlds.device import backbone
from assay.worlds.divided import divider


def vocabulary_of(config: Any, model: Any) -> Stops:
    """The policy's tokenizer, with what ends a completion.

    Args:
        config: A HubConfig.
        model: The policy's.
    """
    tokenizer = open_tokenizer(config.policy)
    chat = config.chat and bool(getattr(tokenizer, "chat_template", None))
    size = model.get_output_embeddings().weight.shape[0]
    ends = end_tokens(tokenizer, own_ends(model, size), chat=chat)
    if chat:
        warn_without_generation_prompt(tokenizer)
    return Stops(
        tokenizer, size=size, ends=ends, stop=(*config.stop, *([CLOSE] if config.turns else ()))
    )


def check_sampler(config: Any) -> SyncConfig:
    """Check what is said of a sampler, before a model is loaded.

    Args:
        config: A HubConfig.

    Returns:
        How it follows the policy.

    Raises:
        InputError: A flag is out of its range, or is about a sampler and none is named.
        Missing: vLLM is needed and not installed.
    """
    about = [f for f in fields(config) if f.name.startswith("sampler_")]
    idle = [f.name for f in about if getattr(config, f.name) != f.default]
    if idle and not config.sampler:
        flag = f"--{idle[0].replace('_', '-')}"
        raise InputError(
            f"{flag} is about what --sampler names, and no --sampler is given; add --sampler vllm "
            f"or --sampler http://host:port/v1, or leave {flag} out"
        )
    if config.sampler == "vllm":
        need("vllm", "vllm", "--sampler vllm", "or give the address of a server")
    elif config.sampler and "://" not in config.sampler:
        raise InputError(
            f"--sampler is '{config.sampler}'; it is vllm, for vLLM in this process, or an address "
            "such as http://127.0.0.1:8000/v1"
        )
    if config.sampler_at_once < 1:
        raise InputError(
            f"--sampler-at-once is {config.sampler_at_once}; give how many prompts are in flight "
            "at a time, 1 or more"
        )
    return SyncConfig(
        correction=config.sampler_correction,
        clip_min=config.sampler_clip_min,
        clip_max=config.sampler_clip_max,
        tolerance=config.sampler_tolerance,
        folder=config.sampler_folder,
    )


def reference(
    config: Any,
    sync: SyncConfig,
    model: Any,
    vocabulary: Stops,
    prompts: Prompts,
    longest: int,
    solvers: Mapping[str, Solver],
    *,
    divided: bool,
) -> Any:
    """The reference; where an engine generates for it, checked on one of the prompts.

    Args:
        config: A HubConfig.
        sync: From `check_sampler`.
        model: The policy's.
        vocabulary: Its words.
        prompts: The run's.
        longest: Tokens of the longest prompt.
        solvers: Models that it asks, by name.
        divided: Whether its weights are divided over processes.

    Raises:
        InputError: The engine does not open, or holds other weights.
    """
    body: torch.nn.Module = backbone(
        model,
        lora=config.lora,
        peft=config.peft,
        bits=config.bits,
        checkpointing=config.checkpointing,
        compiled=config.torch_compile,
        rng=Rng(config.seed)("adapters"),
        divide=divider(config, prompts.tokens.device) if divided else None,
    )
    if solvers:
        return Asking(
            body, vocabulary, solvers=solvers, turns=config.turns, **config.sampling
        ).frozen()
    if not config.sampler:
        kind = Stopping if config.stop else Causal
        return kind(body, vocabulary, **config.sampling).frozen()
    if config.sampler == "vllm" and opened(config.policy) is not None:
        raise InputError(
            "--sampler is vllm, which opens a folder or a model id, and the model is an object of "
            "this program; write it by save_pretrained, and give the folder"
        )
    engine = open_engine(
        config.sampler,
        config.sampler_model or config.policy,
        vocabulary,
        at_once=config.sampler_at_once,
        dtype=config.dtype,
        rank=rank_of(body),
        longest=longest + config.max_tokens,
    )
    policy = Served(body, vocabulary, engine, sync=WeightSync(engine, sync), **config.sampling)
    policy.requires_grad_(False)
    return verified(policy, prompts)
