"""The reference of world hub: the model, its words, and what generates for it."""

from __future__ import annotations

from typing import Any

import torch

from assay.core import Prompts, Rng
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.models.policies.open_engine import open_engine, verified
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.policies.weight_sync import SyncConfig, WeightSync
from assay.models.samplers.weight_files import rank_of
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
    return Stops(tokenizer, size=size, ends=ends, stop=config.stop)


def reference(
    config: Any, model: Any, vocabulary: Stops, prompts: Prompts, longest: int, *, divided: bool
) -> Any:
    """The reference; where an engine generates for it, checked on one of the prompts.

    Args:
        config: A HubConfig.
        model: The policy's.
        vocabulary: Its words.
        prompts: The run's.
        longest: Tokens of the longest prompt.
        divided: Whether its weights are divided over processes.

    Raises:
        InputError: The engine does not open, or holds other weights.
    """
    sync = SyncConfig(
        correction=config.sampler_correction,
        clip_min=config.sampler_clip_min,
        clip_max=config.sampler_clip_max,
        tolerance=config.sampler_tolerance,
        folder=config.sampler_folder,
    )
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
