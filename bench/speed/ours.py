"""Our side: the recipes as they are run, a step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Loop, Pairs, Prompts, Samples, Task
from assay.core.rng import Rng
from assay.formulas.pairwise import bradley_terry
from assay.formulas.pairwise import dpo as dpo_loss
from assay.loops import log_ratios
from assay.models.backbones.attention import Config
from assay.models.backbones.llama import Llama
from assay.models.policies.causal import Causal
from assay.models.samplers.decoding import CausalDecoding
from assay.models.vocabulary import Vocabulary
from assay.recipes import dpo, grpo
from assay.rewards.ensemble import Members
from assay.rewards.fit import trained
from bench.speed import cases
from bench.speed.cases import Case, Size

LR = 1e-3


def config(s: Size) -> Config:
    """A size as our Llama's."""
    return Config(s.vocabulary, s.width, s.layers, s.heads, s.heads, s.inner)


def write_model(s: Size, folder: Path) -> None:
    """One random model, which both sides read."""
    Llama(config(s), Rng(0)).save_pretrained(folder)


class Forced(Causal):
    """A policy whose answer r is `lengths[r]` tokens long: what it draws is its own, when it ends
    is the benchmark's.
    """

    lengths: Tensor

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> CausalDecoding:
        """Answers in the making, each of its length."""
        state = _ForcedDecoding(self, prompts, n, rng, start)
        state.lengths = self.lengths
        return state

    def copy(self, **changed: Any) -> Causal:
        """A copy that is forced in the same way."""
        out = super().copy(**changed)
        out.__class__ = Forced
        out.lengths = self.lengths
        return out


class _ForcedDecoding(CausalDecoding):
    lengths: Tensor

    def _drawn(self) -> Tensor:
        token, eos = super()._drawn(), self.policy.vocabulary.eos
        over = self.place[self.live] >= self.lengths[self.live] - 1
        return torch.where(over, eos, torch.where(token <= eos, eos + 1, token))


class _Open(Vocabulary):
    """Nothing is barred: the peer's softmax is over padding and begin, too."""

    barred = ()


def policy(c: Case, folder: Path) -> Forced:
    """The model in this folder, forced to the case's lengths."""
    out = Forced(Llama.from_pretrained(folder), _Open(cases.words(c.size)), max_tokens=c.most)
    out.lengths = torch.tensor(c.lengths())
    return out


def score(x: Samples) -> Tensor:
    """The share of w0 in an answer."""
    return ((x.action == 3) & x.mask).sum(-1) / x.mask.sum(-1).clamp(min=1)


class Judge:
    """That score as a reward."""

    names, partial = ("w0",), False

    def __call__(self, x: Samples) -> Tensor:
        return score(x).to(x.logp)[None]

    def only(self, members: Any) -> Judge:
        """It has one member."""
        return self


def pairs_of(c: Case, p: Causal, n: int, seed: int = 0) -> Pairs:
    """The case's pairs as Pairs."""
    rows = cases.pairs(c, n, seed)
    x = p.encode([r[0] for r in rows], [[r[1], r[2]] for r in rows])
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        x.extra,
        torch.ones(n),
        torch.zeros(n),
    )


def stepper(c: Case, folder: Path, *, steps: int) -> Callable[[], dict[str, float]]:
    """A function that takes one step of the case and says what the recipe said of it, and its
    seconds.
    """
    p = policy(c, folder)
    loop = Loop(max_steps=steps, batch_size=c.prompts, num_generations=c.answers, learning_rate=LR)
    if c.kind == "reward":
        return _reward_stepper(c, p)
    asked = p.vocabulary.prompts(cases.prompts(c, c.prompts * min(steps, 16)))
    task = Task(
        prompts=asked,
        reference=p.frozen(),
        rewards=Judge(),
        rng=Rng(0),
        pairs=pairs_of(c, p, c.prompts * min(steps, 16)) if c.kind == "dpo" else None,
    )
    recipe: Iterator[Any] = (
        grpo.recipe(task, beta=0.04, loop=loop)
        if c.kind == "grpo"
        else dpo.recipe(task, beta=0.1, loop=loop)
    )

    def step() -> dict[str, float]:
        began, busy = time.perf_counter(), time.process_time()
        said = next(recipe)
        spent = {"seconds": time.perf_counter() - began, "cpu": time.process_time() - busy}
        if (
            c.kind == "grpo" and c.size == cases.SMALL
        ):  # of answers drawn for this alone, not a part of the step
            spent["reward"] = float(
                score(said.policy.sample(asked[: c.prompts], c.answers, Rng(1))).mean()
            )
        return {**said.stats, **spent}

    return step


def _reward_stepper(c: Case, p: Causal) -> Callable[[], dict[str, float]]:
    """A judge of the case's size fitted on its pairs. The fit holds its own loop, so a step is what
    lies between two of its calls of the loss; the first of a call, which also makes the optimiser,
    is left out.
    """
    judges = Members(config(c.size), 1, Rng(0))
    data = pairs_of(c, p, c.prompts * 8)

    def step() -> dict[str, float]:
        at: list[tuple[float, float]] = []
        lost: list[Tensor] = []

        def loss(chosen: Tensor, rejected: Tensor, *_: Tensor) -> Tensor:
            at.append((time.perf_counter(), time.process_time()))
            lost.append(bradley_terry(chosen, rejected))
            return lost[-1]

        trained(
            judges, data, loss=loss, loop=Loop(max_steps=3, batch_size=c.prompts, learning_rate=LR)
        )
        wall, busy = ((last - first) / 2 for first, last in zip(at[0], at[-1], strict=True))
        return {"seconds": wall, "cpu": busy, "loss": float(lost[-1].detach().mean())}

    return step


def equality(c: Case, folder: Path) -> dict[str, Any]:
    """Numbers that the peer must agree on, from the same weights: log-probabilities or the loss of
    the first pairs.
    """
    p = policy(c, folder)
    data = pairs_of(c, p, 8, seed=5)
    logp = p.logp(data)
    found: dict[str, Any] = {"logp": logp.sum(-1).flatten().tolist()}
    if c.kind == "dpo":
        q = p.copy()
        with torch.no_grad():
            for w in q.parameters():
                w.mul_(1.01)
        loss = dpo_loss(*log_ratios(q.logp(data), p.logp(data)), beta=0.1)
        loss.mean().backward()
        norm = torch.nn.utils.get_total_norm([w.grad for w in q.parameters()])
        found |= {"loss": float(loss.mean()), "grad": float(norm)}
    if c.kind == "reward":
        weights = {f"backbone.{k}": w.detach()[None] for k, w in p.backbone.named_parameters()}
        judge = Members(
            config(c.size),
            1,
            Rng(0),
            weights={**weights, "head": torch.tensor(cases.head(c.size))[None]},
        )
        scores = judge(data)[0]
        loss = bradley_terry(scores[:, 0], scores[:, 1]).mean()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([w.grad for w in judge.parameters()])
        found |= {"loss": float(loss.detach()), "grad": float(norm)}
    return found
