"""The peer's side: TRL's own trainers on the same model, texts and lengths. Runs in an environment
of its own.

Its best settings for the case: no gradient checkpointing, fused Adam, no logging between rounds,
dropout off, the batch in one piece. The step that is timed is from `on_step_begin` to
`on_step_end`: drawing, scoring, loss, backward and update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

from bench.speed import cases
from bench.speed.cases import Case

LR = 1e-3


def tokenizer(c: Case) -> Any:
    """One token a word, the begin token before every text."""
    ids = {w: i for i, w in enumerate(["<pad>", "<bos>", "<eos>", *cases.words(c.size)])}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


class Forced(LogitsProcessor):
    """Row r ends at its length and not before."""

    def __init__(self, lengths: list[int], eos: int):
        self.lengths, self.eos, self.start = torch.tensor(lengths), eos, None

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.start is None:
            self.start = ids.shape[1]
        over = (ids.shape[1] - self.start) >= self.lengths - 1
        scores[:, : self.eos + 1] = -torch.inf
        only = torch.full_like(scores, -torch.inf)
        only[:, self.eos] = 0.0
        return torch.where(over[:, None], only, scores)


class Wait(TrainerCallback):
    """Lets one step go when it is asked for, and says how long it took."""

    def __init__(self, asked: Callable[[], bool], said: Callable[[dict[str, float]], None]):
        self.asked, self.said, self.began, self.busy, self.last = asked, said, 0.0, 0.0, {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.asked():
            control.should_training_stop = True
        self.began, self.busy = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.said(
            {
                "seconds": time.perf_counter() - self.began,
                "cpu": time.process_time() - self.busy,
                **self.last,
            }
        )


def settings(scratch: Path, steps: int, rate: float) -> dict[str, Any]:
    """What every trainer of TRL's is given: its best settings for a CPU, and no regularisation."""
    return {
        "output_dir": str(scratch),
        "max_steps": steps,
        "learning_rate": rate,
        "lr_scheduler_type": "constant",
        "report_to": "none",
        "gradient_checkpointing": False,
        "bf16": False,
        "optim": "adamw_torch_fused",
        "save_strategy": "no",
        "use_cpu": True,
        "logging_strategy": "no",
        "disable_dropout": True,
        "max_grad_norm": 1.0,
        "dataloader_num_workers": 0,
        "weight_decay": 0.0,
        "seed": 0,
        "disable_tqdm": True,
    }


def trainer(c: Case, folder: Path, *, steps: int, scratch: Path) -> Any:
    """The TRL trainer of a case."""
    tok = tokenizer(c)
    same = {**settings(scratch, steps, LR), "gradient_accumulation_steps": 1}
    if c.kind == "reward":
        rows = cases.pairs(c, c.prompts * 8)
        data = Dataset.from_list(
            [{"chosen": f"{p} {a}", "rejected": f"{p} {b}"} for p, a, b in rows]
        )
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32
        )
        model.config.pad_token_id = 0
        return RewardTrainer(
            model=model,
            args=RewardConfig(per_device_train_batch_size=c.prompts, **same),
            train_dataset=data,
            processing_class=tok,
        )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.config.eos_token_id = model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    if c.kind == "dpo":
        rows = cases.pairs(c, c.prompts * min(steps, 16))
        data = Dataset.from_list(
            [{"prompt": p, "chosen": f" {a}", "rejected": f" {b}"} for p, a, b in rows]
        )
        reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        args = DPOConfig(per_device_train_batch_size=c.prompts, beta=0.1, **same)
        return DPOTrainer(
            model=model, ref_model=reference, args=args, train_dataset=data, processing_class=tok
        )
    return _grpo(c, model, tok, same, steps)


def _grpo(c: Case, model: Any, tok: Any, same: dict[str, Any], steps: int) -> Any:
    """GRPO, its generation forced to the case's lengths."""
    plain = model.generate

    def generate(*args: Any, **more: Any) -> Any:
        return plain(*args, logits_processor=LogitsProcessorList([Forced(c.lengths(), 2)]), **more)

    model.generate = generate

    def w0(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(i == 3 for i in ids) / max(1, len(ids)) for ids in completion_ids]

    args = GRPOConfig(
        per_device_train_batch_size=c.prompts * c.answers,
        num_generations=c.answers,
        beta=0.04,
        max_completion_length=c.most,
        temperature=1.0,
        **same,
    )
    data = Dataset.from_list([{"prompt": p} for p in cases.prompts(c, c.prompts * min(steps, 16))])
    return GRPOTrainer(
        model=model, reward_funcs=w0, args=args, train_dataset=data, processing_class=tok
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
    """Train, a step whenever one is asked for."""
    t = trainer(c, folder, steps=steps, scratch=scratch)
    wait = Wait(asked, said)
    inner = t.compute_loss

    def compute_loss(*args: Any, **more: Any) -> Any:
        out = inner(*args, **more)
        wait.last = {
            "loss": float(out.detach()) if isinstance(out, torch.Tensor) else float(out[0].detach())
        }
        if c.kind == "grpo":
            wait.last["reward"] = t._metrics["train"]["reward"][-1]
            wait.last["completions/mean_length"] = t._metrics["train"]["completions/mean_length"][
                -1
            ]
        return out

    t.compute_loss = compute_loss
    t.add_callback(wait)
    t.train()


def equality(c: Case, folder: Path, scratch: Path) -> dict[str, Any]:
    """The same numbers as ours.equality, by transformers' forward pass and TRL's loss."""
    tok, rows = tokenizer(c), cases.pairs(c, 8, seed=5)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logp = []
    for p, *both in rows:
        for text in both:
            ask, ids = tok(p)["input_ids"], torch.tensor(tok(f"{p} {text}")["input_ids"] + [2])
            with torch.no_grad():
                logits = model(ids[None]).logits[0].double()
                logp.append(
                    float(
                        logits.log_softmax(-1)[:-1].gather(1, ids[1:, None])[len(ask) - 1 :].sum()
                    )
                )
    found: dict[str, Any] = {"logp": logp}
    if c.kind == "dpo":
        q = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            for w in q.parameters():
                w.mul_(1.01)
        data = Dataset.from_list(
            [{"prompt": p, "chosen": f" {a}", "rejected": f" {b}"} for p, a, b in rows]
        )
        args = DPOConfig(
            output_dir=str(scratch),
            per_device_train_batch_size=8,
            beta=0.1,
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            disable_tqdm=True,
        )
        t = DPOTrainer(
            model=q, ref_model=model, args=args, train_dataset=data, processing_class=tok
        )
        found |= _loss(t, q)
    if c.kind == "reward":
        judge = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=torch.float32
        )
        judge.config.pad_token_id = 0
        with torch.no_grad():
            judge.score.weight.copy_(torch.tensor(cases.head(c.size)))
        data = Dataset.from_list(
            [{"chosen": f"{p} {a}", "rejected": f"{p} {b}"} for p, a, b in rows]
        )
        args = RewardConfig(
            output_dir=str(scratch),
            per_device_train_batch_size=8,
            report_to="none",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            disable_tqdm=True,
            disable_dropout=True,
        )
        found |= _loss(
            RewardTrainer(model=judge, args=args, train_dataset=data, processing_class=tok), judge
        )
    return found


def _loss(t: Any, model: Any) -> dict[str, float]:
    """The trainer's loss of its first batch, and the norm of its gradient."""
    loss = t.compute_loss(model, next(iter(t.get_train_dataloader())))
    loss.backward()
    norm = torch.linalg.vector_norm(
        torch.stack([w.grad.norm() for w in model.parameters() if w.grad is not None])
    )
    return {"loss": float(loss.detach()), "grad": float(norm)}
