"""A Policy is narrow: a policy of somebody else's kind trains without a method that raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import (
    Decodes,
    EncodesText,
    EstimatesMemory,
    HasValueHead,
    InputError,
    Loop,
    Policy,
    Prompts,
    Rng,
    Samples,
    Task,
    World,
    require,
)
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.models.backbones.attention import Config
from assay.models.backbones.llama import Llama
from assay.models.micro_batch import micro_batch_size
from assay.models.policies.causal import Causal
from assay.models.policies.markov import MarkovPolicy
from assay.models.policies.table import TablePolicy
from assay.models.vocabulary import Vocabulary
from assay.recipes import leave_one_out, ppo

STEPS = 3


class Denoiser:
    """A diffusion policy in small: a number is drawn, and moved by T Gaussian steps, each one a
    decision. It has what a Policy has to have and nothing else.
    """

    kl_kind = "sampled"

    def __init__(self, drift: Tensor | None = None):
        self.drift = torch.zeros(STEPS) if drift is None else drift

    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        b, k, t = torch.meshgrid(
            *(torch.arange(m) for m in (len(prompts), n, STEPS)), indexing="ij"
        )
        action = self.drift.detach() + rng.normal(b, k, t)
        mask = torch.ones(action.shape, dtype=torch.bool)
        x = Samples(prompts, action, mask, ~mask, torch.zeros(action.shape), mask[..., 0])
        return Samples(prompts, action, mask, ~mask, self.logp(x).detach(), mask[..., 0])

    def logp(self, samples: Samples) -> Tensor:
        return -0.5 * (samples.action - self.drift) ** 2

    def kl(self, reference: Policy, samples: Samples) -> Tensor:
        assert isinstance(reference, Denoiser)
        each = 0.5 * (self.drift - reference.drift).detach() ** 2
        return each.sum().expand(samples.mask.shape[:2])

    def copy(self) -> Denoiser:
        return Denoiser(self.drift.detach().clone().requires_grad_(True))

    def parameters(self) -> Iterator[Tensor]:
        yield self.drift

    def state_dict(self) -> dict[str, Any]:
        return {"drift": self.drift.detach()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.drift.data.copy_(state["drift"])


class Height:
    """Where the number ends."""

    names, partial = ("height",), False

    def __call__(self, samples: Samples) -> Tensor:
        return samples.action.sum(-1)[None]


def world() -> World:
    tokens = torch.zeros(8, 1, dtype=torch.int64)
    prompts = Prompts(tokens, tokens == 0, torch.arange(8))
    task = Task(prompts=prompts, reference=Denoiser(), rewards=Height())
    return World("numbers", task, prompts[:4], gold=lambda x: -((x.action.sum(-1)[None] - 1) ** 2))


def test_a_policy_with_the_narrow_methods_alone_runs_end_to_end() -> None:
    assert isinstance(Denoiser(), Policy)
    loop = Loop(max_steps=12, batch_size=8, num_generations=8, learning_rate=0.2)
    kinds = (Decodes, HasValueHead, EncodesText, EstimatesMemory)
    assert not any(isinstance(Denoiser(), kind) for kind in kinds)
    whole = list(measure(leave_one_out.recipe, world(), loop=loop))
    parts = list(
        measure(leave_one_out.recipe, world(), loop=loop, config=MeasureConfig(micro_batch_size=3))
    )
    first, last = whole[0], next(r for r in reversed(whole) if r["tag"] != "best")
    assert last["rewards"][0] > first["rewards"][0] + 1 and last["kl"] > 0.1
    for a, b in zip(whole, parts, strict=True):
        assert a["kl"] == pytest.approx(b["kl"], abs=1e-6)
        assert a["gold"] == pytest.approx(b["gold"], abs=1e-5)


def test_a_recipe_that_needs_more_says_so_in_one_sentence() -> None:
    sentence = (
        r"^ppo needs a policy that has a value head \(`value_head`\), and a Denoiser does not; "
        "use another recipe or another model$"
    )
    with pytest.raises(InputError, match=sentence):
        list(ppo.recipe(world().task))
    with pytest.raises(InputError, match=r"^spark needs a policy that encodes text"):
        require(Denoiser(), EncodesText, "spark")


def test_what_each_policy_can_do() -> None:
    kinds = (Policy, Decodes, HasValueHead, EncodesText, EstimatesMemory)
    llama = Llama(Config(8, 16, 1, 2, 2, 24), Rng(0))
    assert all(isinstance(Causal(llama, Vocabulary(["a", "b"])), kind) for kind in kinds)
    table = TablePolicy(torch.zeros(1, 3))
    assert [isinstance(table, kind) for kind in kinds] == [True] * 4 + [False]
    assert not hasattr(MarkovPolicy, "encode")


def test_a_policy_that_says_nothing_of_its_memory_is_computed_whole() -> None:
    assert micro_batch_size(world().task, Loop()) == 0
