"""The peer's side: TRL's own trainers, and `generate`, on the same checkpoint, tokens and lengths.

Its best settings for a CPU: no gradient checkpointing, fused Adam, no logging between rounds,
dropout off; the batch in one piece, or in as few as 24 GiB allow.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

from bench.real import cases
from bench.real.cases import Case
from bench.speed.peer import Wait, _loss, settings

LR = 1e-4


def tokenizer(folder: Path) -> Any:
    """The checkpoint's; a token that no text holds is padding."""
    out = AutoTokenizer.from_pretrained(folder)
    out.pad_token = out.convert_ids_to_tokens(0)
    return out


def causal(folder: Path) -> Any:
    """The checkpoint in float32."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def classifier(folder: Path, pad: int) -> Any:
    """The checkpoint with a score's head."""
    out = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32
    )
    out.config.pad_token_id = pad
    return out


def lora(c: Case, kind: str) -> Any:
    """The adapters' configuration."""
    from peft import LoraConfig

    if not c.lora:
        return None
    return LoraConfig(
        r=c.lora,
        lora_alpha=2 * c.lora,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=kind,
        modules_to_save=["score"] if kind == "SEQ_CLS" else None,
    )


def same(c: Case, steps: int, scratch: Path) -> dict[str, Any]:
    """What all trainers are given."""
    rows = c.prompts * (c.completions if c.kind == "grpo" else 1)
    return {
        **settings(scratch, steps, LR),
        "torch_compile": c.compiled,
        "per_device_train_batch_size": rows // c.peer_passes,
        "gradient_accumulation_steps": c.peer_passes,
    }


def rows_of(c: Case, tok: Any, n: int, seed: int = 0) -> list[dict[str, str]]:
    """The case's pairs as text."""
    rows = cases.pairs(c, cases.words(tok), n, seed)
    return [
        dict(zip(("prompt", "chosen", "rejected"), map(tok.decode, r), strict=True)) for r in rows
    ]


def trainer(c: Case, folder: Path, *, steps: int, scratch: Path) -> Any:
    """The TRL trainer of a case."""
    tok, given = tokenizer(folder), same(c, steps, scratch)
    if c.kind == "grpo":
        known = cases.words(tok)

        def share(completion_ids: list[list[int]], **_: Any) -> list[float]:
            return [sum(i == known[0] for i in ids) / len(ids) for ids in completion_ids]

        asks = cases.prompts(c, known, c.prompts * steps)
        args = GRPOConfig(
            num_generations=c.completions,
            beta=0.04,
            max_completion_length=c.most,
            temperature=1.0,
            generation_kwargs={"min_new_tokens": c.most},
            **given,
        )
        return GRPOTrainer(
            model=causal(folder),
            reward_funcs=share,
            args=args,
            train_dataset=Dataset.from_list([{"prompt": tok.decode(a)} for a in asks]),
            processing_class=tok,
            peft_config=lora(c, "CAUSAL_LM"),
        )
    data = Dataset.from_list(rows_of(c, tok, c.prompts * steps))
    if c.kind == "dpo":
        return DPOTrainer(
            model=causal(folder),
            args=DPOConfig(beta=0.1, max_length=None, **given),
            train_dataset=data,
            processing_class=tok,
            peft_config=lora(c, "CAUSAL_LM"),
        )
    return RewardTrainer(
        model=classifier(folder, tok.pad_token_id),
        args=RewardConfig(max_length=None, **given),
        train_dataset=_implicit(data),
        processing_class=tok,
        peft_config=lora(c, "SEQ_CLS"),
    )


def _implicit(data: Any) -> Any:
    """Prompt and completion as one text, as RewardTrainer takes them."""
    return data.map(
        lambda r: {k: r["prompt"] + r[k] for k in ("chosen", "rejected")}, remove_columns=["prompt"]
    )


def serve(
    c: Case,
    folder: Path,
    *,
    steps: int,
    scratch: Path,
    asked: Callable[[], bool],
    said: Callable[[dict[str, float]], None],
) -> None:
    """Take a step whenever one is asked for."""
    if c.kind == "generate":
        return _generate(c, folder, asked, said)
    t = trainer(c, folder, steps=steps, scratch=scratch)
    t.add_callback(Wait(asked, said))
    t.train()


@torch.no_grad()
def _generate(
    c: Case,
    folder: Path,
    asked: Callable[[], bool],
    said: Callable[[dict[str, float]], None],
) -> None:
    model, tok = causal(folder).eval(), tokenizer(folder)
    ids = torch.tensor(cases.prompts(c, cases.words(tok), c.prompts))
    ids = ids.repeat_interleave(c.completions, 0)
    how = {"max_new_tokens": c.most, "min_new_tokens": c.most, "do_sample": True, "top_k": 0}
    while asked():
        began, busy = time.perf_counter(), time.process_time()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), pad_token_id=tok.pad_token_id, **how
        )
        said(
            {"seconds": time.perf_counter() - began, "cpu": time.process_time() - busy},
        )


def equality(c: Case, folder: Path, scratch: Path) -> dict[str, Any]:
    """The same numbers as ours.equality, by transformers' forward pass and TRL's losses."""
    tok = tokenizer(folder)
    if c.kind == "reward":
        return _reward_equality(c, folder, tok, scratch)
    model, rows = causal(folder).eval(), cases.pairs(c, cases.words(tok), 4, seed=5)
    logp = []
    for ask, *both in rows:
        for own in both:
            ids = torch.tensor([*ask, *own, tok.eos_token_id])
            with torch.no_grad():
                logits = model(ids[None]).logits[0].double()
            each = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])
            logp.append(float(each[len(ask) - 1 :].sum()))
    found: dict[str, Any] = {"logp": logp}
    if c.kind == "dpo":
        moved = causal(folder)
        with torch.no_grad():
            for w in moved.parameters():
                w.mul_(1.001)
        args = DPOConfig(beta=0.1, max_length=None, **{**same(c, 1, scratch), **_of_two()})
        t = DPOTrainer(
            model=moved,
            ref_model=model,
            args=args,
            train_dataset=Dataset.from_list(rows_of(c, tok, 4, seed=5)[:2]),
            processing_class=tok,
        )
        found |= _loss(t, moved)
    return found


def _of_two() -> dict[str, int]:
    return {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1}


def _reward_equality(c: Case, folder: Path, tok: Any, scratch: Path) -> dict[str, Any]:
    judge = classifier(folder, tok.pad_token_id)
    with torch.no_grad():
        judge.score.weight.copy_(torch.tensor(cases.head(judge.score.weight.shape[1]))[None])
    rows = cases.pairs(c, cases.words(tok), 2, seed=5)
    score = []
    for ask, *both in rows:
        for own in both:
            with torch.no_grad():
                score.append(float(judge(torch.tensor([[*ask, *own, tok.eos_token_id]])).logits))
    args = RewardConfig(max_length=None, **{**same(c, 1, scratch), **_of_two()})
    t = RewardTrainer(
        model=judge,
        args=args,
        train_dataset=_implicit(Dataset.from_list(rows_of(c, tok, 2, seed=5))),
        processing_class=tok,
    )
    return {"logp": score, **_loss(t, judge)}
