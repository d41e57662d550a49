"""What is chosen where a prompt's completions do not fit into memory: fewer a pass, or layers that
are computed again in the backward pass. Neither changes a number.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import model, tokenizer

from assay.core import Loop, Prompts, Samples, Task, World
from assay.engine import passes
from assay.evaluation.measure import measure
from assay.models import micro_batch
from assay.models.backbones.pretrained import Pretrained
from assay.models.micro_batch import micro_batch_size, pass_bytes, recompute_if_needed
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.recipes import grpo

LOOP = Loop(max_steps=1, batch_size=2, num_generations=4, learning_rate=1e-3)
SHORT, LONG = "what?", "please tell me about the gate and the pond, and the river by it" * 4


class Length:
    """How long a completion is."""

    names, partial = ("length",), False

    def __call__(self, x: Samples) -> Any:
        return x.mask.sum(-1).double()[None]


def world(ask: str, family: str = "llama") -> World:
    known = tokenizer()
    backbone = Pretrained(model(family, vocabulary=len(known), dtype=torch.float64))
    reference = Causal(backbone, Tokens(known, size=len(known)), max_tokens=12).frozen()
    prompts: Prompts = reference.vocabulary.prompts([ask] * 4)
    return World("words", Task(prompts=prompts, reference=reference, rewards=Length()), prompts[:2])


def allow(patch: pytest.MonkeyPatch, task: Task, completions: float) -> None:
    """Let so many of a prompt's completions fit, without layers that are computed again."""
    policy: Any = task.reference
    once, each = pass_bytes(policy, task.longest_prompt, policy.max_tokens, 4)
    room = once + completions * each
    weights = passes.trained_bytes(policy.parameters())
    patch.setattr(passes, "free_bytes", lambda device="cpu": int(8 * room + weights + 8))


@pytest.mark.parametrize(
    ("ask", "fit", "again"),
    [(SHORT, 2.5, False), (LONG, 2.5, True), (SHORT, 0.6, True), (LONG, 4.5, False)],
)
def test_layers_are_computed_again_where_that_is_cheaper(
    ask: str, fit: float, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long prompt in every pass costs more than another forward pass, and a short one less."""
    task = world(ask).task
    allow(monkeypatch, task, fit)
    size = micro_batch_size(task, LOOP)
    assert task.reference.backbone.checkpointing is again  # type: ignore[attr-defined]
    assert (size >= 1) if again else size == int(fit)
    if ask == LONG and again:
        assert size == 0 or size >= 4, "now a prompt's completions stand in one pass"


def test_a_model_that_repeats_prompts_gains_by_it_only_where_nothing_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = world(LONG, "gemma2").task  # scores are capped: prompts are saved with each completion
    assert not task.reference.backbone.shares_prompts  # type: ignore[attr-defined]
    for fit, again in ((2.5, False), (0.6, True)):
        allow(monkeypatch, task, fit)
        micro_batch_size(task, LOOP)
        assert task.reference.backbone.checkpointing is again  # type: ignore[attr-defined]


def test_a_given_size_is_kept_and_made_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heap grows to twice what a pass saves."""
    task = world(SHORT).task
    policy: Any = task.reference
    once, each = pass_bytes(policy, task.longest_prompt, policy.max_tokens, 4)
    monkeypatch.setattr(passes, "free_bytes", lambda device="cpu": 3 * (once + 4 * each))
    recompute_if_needed(task, LOOP, 4)
    assert policy.backbone.checkpointing is False
    recompute_if_needed(task, LOOP, 8)
    assert policy.backbone.checkpointing is True


def test_no_number_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(measure(grpo.recipe, world(LONG), loop=LOOP))
    other = world(LONG)
    allow(monkeypatch, other.task, 0.6)
    parts = list(measure(grpo.recipe, other, loop=LOOP))
    assert other.task.reference.backbone.checkpointing  # type: ignore[attr-defined]
    for a, b in zip(whole, parts, strict=True):
        assert a["kl"] == pytest.approx(b["kl"], abs=1e-9)
        assert a["proxy"] == pytest.approx(b["proxy"], abs=1e-9)


def test_a_small_model_of_ours_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no layers that can be computed again."""
    task = world(SHORT).task
    monkeypatch.setattr(micro_batch, "layers_of", lambda model: [])
    allow(monkeypatch, task, 0.6)
    assert micro_batch_size(task, LOOP) == 1
    assert task.reference.backbone.checkpointing is False  # type: ignore[attr-defined]
