"""Our side: the recipes on a checkpoint, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from assay.core import Loop, Pairs, Prompts, Samples, Task
from assay.core.rng import Rng
from assay.engine.descend import micro_batches
from assay.formulas.pairwise import bradley_terry
from assay.formulas.pairwise import dpo as dpo_loss
from assay.loops import log_ratios
from assay.models.backbones.adapters import Adapted, Base
from assay.models.backbones.lora import lora_config
from assay.models.backbones.pretrained import Pretrained
from assay.models.micro_batch import micro_batch_size
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.recipes import dpo, grpo
from assay.rewards.encoder import Member
from assay.rewards.encoding import template_for
from assay.rewards.fit import trained
from assay.rewards.fit_models import pass_size
from assay.rewards.row_tokens import Encoded
from assay.rewards.token_pairs import token_pairs
from bench.real import cases
from bench.real.cases import Case

LR = 1e-4


class Share:
    """The share of one word in a completion, as a reward."""

    names, partial = ("share",), False

    def __init__(self, word: int):
        self.word = word

    def __call__(self, x: Samples) -> Tensor:
        return (((x.action == self.word) & x.mask).sum(-1) / x.mask.sum(-1)).to(x.logp)[None]

    def only(self, members: Any) -> Share:
        """It has one member."""
        return self


class Open(Tokens):
    """Nothing is barred: the peer's softmax is over padding and begin, too."""

    def __init__(self, tokenizer: Any, *, size: int):
        super().__init__(tokenizer, size=size)
        self.barred = ()


def policy(c: Case, folder: Path, *, free: bool = False) -> Causal:
    """The checkpoint, with adapters or without; its completions are of one length, or free."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    backbone: Any = Pretrained(model, compiled=c.compiled)
    if c.lora:
        backbone = Adapted(Base(backbone, lora_config(model, c.lora), Rng(0)))
    known = Open(tokenizer, size=model.config.vocab_size)
    forced = {"max_tokens": c.most, "min_tokens": 0 if free or c.least < c.most else c.most}
    return Causal(backbone, known, **forced)


def asked(rows: list[list[int]]) -> Prompts:
    """Prompts of one length."""
    tokens = torch.tensor(rows)
    return Prompts(tokens, torch.ones_like(tokens).bool(), torch.arange(len(rows)))


def pairs_of(c: Case, of: Causal, n: int, seed: int = 0) -> Pairs:
    """The case's pairs, an end token after each completion."""
    rows = cases.pairs(c, cases.words(of.vocabulary.tokenizer), n, seed)
    action = torch.full((n, 2, c.most), of.vocabulary.pad)
    mask = torch.zeros_like(action).bool()
    for b, (_, *both) in enumerate(rows):
        for k, own in enumerate(both):
            ids = [*own, of.vocabulary.eos]
            action[b, k, : len(ids)], mask[b, k, : len(ids)] = torch.tensor(ids), True
    none, nothing = torch.zeros_like(mask), torch.zeros(mask.shape)
    ask = asked([r[0] for r in rows])
    return Pairs(ask, action, mask, none, nothing, mask.any(-1), {}, torch.ones(n), torch.zeros(n))


def stepper(c: Case, folder: Path, *, steps: int) -> Callable[[], dict[str, float]]:
    """A function that takes one step of the case and returns its seconds."""
    if c.kind == "reward":
        return _reward_stepper(c, folder)
    p = policy(c, folder)
    known = cases.words(p.vocabulary.tokenizer)
    if c.kind == "generate":
        return _generate(c, p, known)
    task = Task(
        prompts=asked(cases.prompts(c, known, c.prompts * steps)),
        reference=p.frozen(),
        rewards=Share(known[0]),
        rng=Rng(0),
        pairs=pairs_of(c, p, c.prompts * steps) if c.kind == "dpo" else None,
    )
    loop = Loop(
        max_steps=steps, batch_size=c.prompts, num_generations=c.completions, learning_rate=LR
    )
    recipe: Iterator[Any] = (
        grpo.recipe(task, beta=0.04, loop=loop)
        if c.kind == "grpo"
        else dpo.recipe(task, beta=0.1, loop=loop)
    )
    size = micro_batch_size(task, loop)  # as a run chooses it, once, from the free memory

    def taken() -> None:
        with micro_batches(size):
            next(recipe)

    return _timed(taken)


def _timed(step: Callable[[], Any]) -> Callable[[], dict[str, float]]:
    def timed() -> dict[str, float]:
        began, busy = time.perf_counter(), time.process_time()
        step()
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - busy}

    return timed


def _generate(c: Case, p: Causal, known: list[int]) -> Callable[[], dict[str, float]]:
    x, turn = asked(cases.prompts(c, known, c.prompts)), iter(range(10**6))
    return _timed(lambda: p.sample(x, c.completions, Rng(0)("turn", next(turn))))


def member(c: Case, folder: Path) -> tuple[Member, Any]:
    """A reward model on the checkpoint, with adapters, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    made = Member(str(folder), tokenizer, template_for(tokenizer, model.config, 1024), Rng(0))
    made.model.config.pad_token_id = 0
    return made, tokenizer


def encoded(c: Case, tokenizer: Any, n: int, seed: int = 0) -> tuple[list[Encoded], list[Encoded]]:
    """Chosen and rejected rows of the case's pairs."""
    rows = cases.pairs(c, cases.words(tokenizer), n, seed)
    end = tokenizer.eos_token_id
    chosen, rejected = (
        [Encoded((*ask, *(one, two)[k], end), len(ask), 0) for ask, one, two in rows]
        for k in (0, 1)
    )
    return chosen, rejected


def _reward_stepper(c: Case, folder: Path) -> Callable[[], dict[str, float]]:
    """A reward model in training. The fit holds its own loop: a step is what lies between the first
    calls of the loss in two of its steps; the first, which also makes the optimiser, is left out.
    """
    model, tokenizer = member(c, folder)
    model.adapt(c.lora, Rng(0))
    n = c.prompts * 3
    data = token_pairs(*encoded(c, tokenizer, n), torch.ones(n), torch.zeros(n))

    def step() -> dict[str, float]:
        at: list[tuple[float, float]] = []

        def loss(chosen: Tensor, rejected: Tensor, *_: Tensor) -> Tensor:
            at.append((time.perf_counter(), time.process_time()))
            return bradley_terry(chosen, rejected)

        loop = Loop(max_steps=3, batch_size=c.prompts, learning_rate=LR)
        with micro_batches(pass_size(data)):  # as `assay fit` bounds its passes
            trained(model, data, loss=loss, loop=loop)
        third = 2 * len(at) // 3  # three steps have as many passes each
        wall, busy = ((last - first) / 2 for first, last in zip(at[0], at[third], strict=True))
        return {"seconds": wall, "cpu": busy}

    return step


def equality(c: Case, folder: Path) -> dict[str, Any]:
    """Numbers that the peer must agree on: tokens, log-probabilities, losses, gradients."""
    if c.kind == "reward":
        return _reward_equality(c, folder)
    p = policy(c, folder, free=True)
    data = pairs_of(c, p, 4, seed=5)
    with torch.no_grad():
        found: dict[str, Any] = {"logp": p.logp(data).sum(-1).flatten().tolist()}
    if c.kind == "dpo":
        whole = Causal(Pretrained(_moved(folder)), p.vocabulary, max_tokens=c.most)
        few = data[:2]
        with torch.no_grad():
            before = p.logp(few)
        loss = dpo_loss(*log_ratios(whole.logp(few), before), beta=0.1)
        loss.mean().backward()
        norm = torch.nn.utils.get_total_norm([w.grad for w in whole.parameters()])
        found |= {"loss": float(loss.mean()), "grad": float(norm)}
    return found


def _moved(folder: Path) -> Any:
    """The checkpoint, each weight a thousandth larger."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(1.001)
    return model


def _reward_equality(c: Case, folder: Path) -> dict[str, Any]:
    model, tokenizer = member(c, folder)
    with torch.no_grad():
        weight = model.model.score.weight
        weight.copy_(torch.tensor(cases.head(weight.shape[1]))[None])
    data = token_pairs(*encoded(c, tokenizer, 2, seed=5), torch.ones(2), torch.zeros(2))
    score = model(data)[0]
    loss = bradley_terry(score[:, 0], score[:, 1]).mean()
    loss.backward()
    norm = torch.nn.utils.get_total_norm([w.grad for w in model.parameters() if w.grad is not None])
    return {"logp": score.detach().flatten().tolist(), "loss": float(loss), "grad": float(norm)}
