"""Our side on one device: the recipes on a checkpoint in bfloat16, a step at a time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from assay.core import Loop, Pairs, Prompts, Task
from assay.core.rng import Rng
from assay.models.policies.causal import Causal
from assay.recipes import dpo, grpo
from assay.worlds.device import backbone, open_model
from bench.real import cases
from bench.real.cases import Case
from bench.real.ours import LR, Open, Share, asked, pairs_of

SHARDED = "assay.models.backbones.sharded"


def policy(c: Case, folder: Path, device: torch.device, *, sharded: bool) -> Causal:
    """The checkpoint with adapters, in bfloat16.

    Raises:
        RuntimeError: Weights were to be divided, and this assay divides none.
    """
    more: dict[str, Any] = {}
    if sharded:
        if importlib.util.find_spec(SHARDED) is None:
            raise RuntimeError("this assay divides no weights")
        _alone(device)
        shard = importlib.import_module(SHARDED).shard
        more["divide"] = partial(shard, checkpointing=False, gather="auto", device=device)
    model = open_model(str(folder), torch.bfloat16, 0, torch.device("cpu") if sharded else device)
    body = backbone(model, lora=c.lora, peft="", bits=0, checkpointing=False, rng=Rng(0), **more)
    known = Open(AutoTokenizer.from_pretrained(folder), size=model.config.vocab_size)
    known.device = device
    least = c.most if c.kind == "grpo" else 0
    return Causal(body, known, max_tokens=c.most, min_tokens=least)


def _alone(device: torch.device) -> None:
    """A process group of this process."""
    kind = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group(kind, store=store, rank=0, world_size=1)


def stepper(c: Case, folder: Path, device: torch.device, *, sharded: bool) -> Callable[[], Any]:
    """A function that takes one step of the case."""
    p = policy(c, folder, device, sharded=sharded)
    known, steps = cases.words(p.vocabulary.tokenizer), c.rounds + 2
    pairs = pairs_of(c, p, c.prompts * steps) if c.kind == "dpo" else None
    task = Task(
        prompts=_on(asked(cases.prompts(c, known, c.prompts * steps)), device),
        reference=p.frozen(),
        rewards=Share(known[0]),
        rng=Rng(0),
        pairs=None if pairs is None else _on(pairs, device),
    )
    loop = Loop(
        max_steps=steps, batch_size=c.prompts, num_generations=c.completions, learning_rate=LR
    )
    recipe: Any = (
        grpo.recipe(task, beta=0.04, loop=loop)
        if c.kind == "grpo"
        else dpo.recipe(task, beta=0.1, loop=loop)
    )
    return lambda: next(recipe)


def _on(x: Any, device: torch.device) -> Any:
    """Prompts or pairs on a device."""
    fields = {k: _there(v, device) for k, v in vars(x).items()}
    return type(x)(**fields) if isinstance(x, (Prompts, Pairs)) else x


def _there(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device)
    return _on(value, device) if isinstance(value, Prompts) else value


@torch.no_grad()
def apart(c: Case, folder: Path, device: torch.device) -> float:
    """Mean absolute difference of a token's log-probability between our pass and transformers',
    both in bfloat16: the numbers that are timed are the same numbers.
    """
    free = policy(c, folder, device, sharded=False)
    data = _on(pairs_of(c, free, 2, seed=5), device)
    ours = free.logp(data)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()
    gaps = []
    for b in range(2):
        for k in range(2):
            own = data.action[b, k][data.mask[b, k]]
            ids = torch.cat([data.prompts.tokens[b], own])[None]
            logits = model(input_ids=ids).logits[0].float().log_softmax(-1)
            theirs = logits[:-1].gather(1, ids[0, 1:, None])[-len(own) :, 0]
            gaps.append((ours[b, k][data.mask[b, k]].float() - theirs).abs())
    return float(torch.cat(gaps).mean())
