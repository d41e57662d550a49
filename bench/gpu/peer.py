"""The peer's side on one device: TRL's trainers in bfloat16, at their best settings.

Fused Adam, scaled-dot-product attention, no gradient checkpointing, dropout off, no logging, the
batch in as few pieces as fit; with vLLM, in this process beside the trainer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

from bench.real import cases
from bench.real.cases import Case
from bench.real.peer import LR, lora, rows_of, tokenizer
from bench.speed.peer import settings


class Clock(TrainerCallback):
    """Times each step: drawing, scoring, loss, backward and update."""

    def __init__(self, wait: Any):
        self.wait, self.began, self.seconds = wait, 0.0, list[float]()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.wait()
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.wait()
        self.seconds.append(time.perf_counter() - self.began)


def seconds(
    c: Case,
    folder: Path,
    device: torch.device,
    scratch: Path,
    wait: Any,
    *,
    vllm: bool,
    pieces: int,
) -> list[float]:
    """The seconds of each step, the first included.

    Args:
        c: The case.
        folder: The checkpoint.
        device: Where it computes.
        scratch: An empty folder.
        wait: Waits until the device has done its work.
        vllm: Whether vLLM generates.
        pieces: In how many the batch is computed.
    """
    steps, tok, clock = c.rounds + 1, tokenizer(folder), Clock(wait)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    rows = c.prompts * (c.completions if c.kind == "grpo" else 1)
    given = {
        **settings(scratch, steps, LR),
        "bf16": True,
        "use_cpu": device.type == "cpu",
        "gradient_accumulation_steps": pieces,
        "per_device_train_batch_size": rows // pieces,
    }
    trainer: Any
    if c.kind == "dpo":
        trainer = DPOTrainer(
            model=model,
            args=DPOConfig(beta=0.1, max_length=None, **given),
            train_dataset=Dataset.from_list(rows_of(c, tok, c.prompts * steps)),
            processing_class=tok,
            peft_config=lora(c, "CAUSAL_LM"),
        )
    else:
        trainer = _grpo(c, model, tok, given, steps, vllm=vllm)
    trainer.add_callback(clock)
    trainer.train()
    return clock.seconds


def _grpo(
    c: Case, model: Any, tok: Any, given: dict[str, Any], steps: int, *, vllm: bool
) -> GRPOTrainer:
    known = cases.words(tok)

    def share(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(i == known[0] for i in ids) / max(1, len(ids)) for ids in completion_ids]

    engine = (
        {
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_gpu_memory_utilization": 0.3,
            "vllm_max_model_length": c.prompt + c.most + 8,
            "generation_kwargs": {"min_tokens": c.most, "ignore_eos": True},
        }
        if vllm
        else {"generation_kwargs": {"min_new_tokens": c.most}}
    )
    args = GRPOConfig(
        num_generations=c.completions,
        beta=0.04,
        max_completion_length=c.most,
        temperature=1.0,
        **engine,
        **given,
    )
    asks = cases.prompts(c, known, c.prompts * steps)
    return GRPOTrainer(
        model=model,
        reward_funcs=share,
        args=args,
        train_dataset=Dataset.from_list([{"prompt": tok.decode(a)} for a in asks]),
        processing_class=tok,
        peft_config=lora(c, "CAUSAL_LM"),
    )
