"""In half precision the ratio to the policy that drew is 1 before the first update."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from families import model, tokenizer
from torch import Tensor

from assay.core import Loop, Rng, Samples, Task
from assay.loops import online
from assay.loops.own_logp import one_update, rounds_apart
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens

HALF = torch.bfloat16
SIZES = {"max_steps": 1, "batch_size": 2, "num_generations": 3, "learning_rate": 1e-2}


class Odd:
    names: tuple[str, ...] = ("odd",)
    partial = False

    def __call__(self, samples: Samples) -> Tensor:
        return (samples.action % 2 * samples.mask).sum(-1).float()[None]


def task(dtype: torch.dtype) -> Task:
    known = tokenizer()
    whole = Pretrained(model("llama", vocabulary=len(known), dtype=dtype))
    of = Causal(whole, Tokens(known, size=len(known)), max_tokens=8)
    prompts = of.vocabulary.prompts(["the old mill", "please tell me about the gate"])
    return Task(prompts=prompts, reference=of.frozen(), rewards=Odd(), rng=Rng(0))


def seen(dtype: torch.dtype, **how: Any) -> list[tuple[Tensor, Tensor]]:
    """Log-probabilities of each pass of one step, and those at sampling time."""
    passes = []

    def loss(logp: Tensor, rows: Samples, advantage: Tensor) -> Tensor:
        passes.append((logp.detach()[rows.mask], rows.logp[rows.mask]))
        return -logp * advantage

    world, reads = task(dtype), how.pop("reads_logp")
    loop = Loop(**{**SIZES, **how})
    for _ in online(world, loop, score=lambda x: world.rewards(x)[0], loss=loss, reads_logp=reads):
        pass
    return passes


def test_one_update_takes_its_own_pass() -> None:
    (now, then), *more = seen(HALF, reads_logp=None)
    assert not more and len(now) and torch.equal(now, then)


def test_where_they_are_read_before_or_updates_follow_the_policy_scores_them() -> None:
    (now, then), *_ = seen(HALF, reads_logp=True)
    assert torch.equal(now, then)
    first, second = seen(HALF, reads_logp=False, epochs=2)
    assert torch.equal(*first), "nothing was learned yet"
    assert float((second[0] - second[1]).abs().max()) > 1e-3, "the ratio is to what drew"


def test_drawing_and_scoring_do_round_apart_there(monkeypatch: pytest.MonkeyPatch) -> None:

    # drawing and scoring in bfloat16, as they would be compared without the above
    monkeypatch.setattr(sys.modules["assay.loops.online"], "rounds_apart", lambda policy: False)
    (now, then), *_ = seen(HALF, reads_logp=False)
    assert not torch.equal(now, then)


def test_float32_keeps_what_drawing_knew() -> None:
    (now, then), *_ = seen(torch.float32, reads_logp=True)
    torch.testing.assert_close(now, then, rtol=0, atol=1e-5)
    assert rounds_apart(task(HALF).reference) and not rounds_apart(task(torch.float32).reference)


def test_a_step_of_several_minibatches_makes_several_updates() -> None:
    assert one_update(Loop(batch_size=4)) and one_update(Loop(batch_size=4, mini_batch_size=4))
    assert not one_update(Loop(batch_size=4, mini_batch_size=2)) and not one_update(Loop(epochs=2))
