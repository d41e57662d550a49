"""A pass holds as many completions as memory allows, and the run's record says how many."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from assay.core import EstimatesMemory, Loop, Rng, Samples, Task, World
from assay.engine import passes
from assay.engine.passes import completions_that_fit, free_bytes, of_like_length, saved_bytes
from assay.evaluation.measure import measure
from assay.models.backbones.attention import Config
from assay.models.backbones.llama import Llama
from assay.models.micro_batch import micro_batch_size
from assay.models.policies.causal import Causal
from assay.models.vocabulary import Vocabulary
from assay.recipes import grpo
from assay.records.runs import Run

LOOP = Loop(max_steps=2, batch_size=4, num_generations=4, learning_rate=1e-3)


@hypothesis.given(st.lists(st.integers(1, 20_000), max_size=80))
def test_every_row_is_read_once_beside_rows_of_its_length(lengths: list[int]) -> None:
    found = of_like_length(lengths)
    assert sorted(i for rows in found for i in rows) == list(range(len(lengths)))
    for rows in found:
        most = max(lengths[i] for i in rows)
        tokens = len(rows) * most
        assert tokens <= passes.TOKENS or len(rows) == 1
        padding = tokens - sum(lengths[i] for i in rows)
        assert padding <= max(passes._PADDED, tokens / 16)
    longest = [max(lengths[i] for i in rows) for rows in found]
    assert longest == sorted(longest), "the greatest need of memory comes last"


def test_rows_of_one_length_are_one_pass() -> None:
    assert of_like_length([9] * 100) == [list(range(100))]
    assert len(of_like_length([9] * 100 + [3000])) == 2


def test_what_a_pass_saves_is_counted_once_and_without_the_parameters() -> None:
    w = torch.nn.Linear(8, 16, bias=False)
    w.requires_grad_(False)
    x = torch.ones(3, 8)
    assert saved_bytes(lambda: w(x).exp(), w.parameters()) == 3 * 8 * 4 + 3 * 16 * 4
    assert not w.weight.requires_grad, "frozen as it was"
    assert saved_bytes(lambda: w(x).exp()) == 0


def test_weights_that_are_not_trained_are_left_so() -> None:
    """The input of a frozen layer is not saved, and its weight is there in any case."""
    base, own = torch.nn.Linear(8, 16, bias=False).requires_grad_(False), torch.nn.Linear(8, 8)
    x = torch.ones(3, 8)
    found = saved_bytes(lambda: base(own(x)).exp(), own.parameters(), base.parameters())
    assert found == 3 * 8 * 4 + 3 * 16 * 4  # the input of `own`, and what exp returns
    assert not base.weight.requires_grad


def test_a_share_of_what_is_free_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "free_bytes", lambda device: 8_000)
    assert completions_that_fit(100) == 10
    assert completions_that_fit(100, processes=2) == 5
    assert completions_that_fit(100, reserved=4000) == 5
    # groups of 4 whose prompt takes 150: one of 550 fits into 1000, and none into 500
    assert completions_that_fit(100, once=150, together=4) == 4
    assert completions_that_fit(100, once=150, together=4, processes=2) == 3
    assert completions_that_fit(100, once=2000, together=4) == 1
    assert completions_that_fit(10, once=50, together=4) == 44  # 11 groups of 90
    assert completions_that_fit(10**9) == completions_that_fit(100, reserved=10**10) == 1


def test_a_container_that_allows_less_is_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(passes, "_CGROUP", tmp_path)
    free = free_bytes()
    assert free > 10_000
    for limit, left in (("12345", 12_000), ("max", None)):
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("345")
        assert free_bytes() == left if left else free_bytes() > 10_000


def policy(layers: int = 2, width: int = 16) -> Causal:
    llama = Llama(Config(8, width, layers, 2, 2, 2 * width), Rng(0))
    return Causal(llama, Vocabulary(["a", "b", "c", "d", "e"]), max_tokens=6)


class Bs:
    """How many b's are in a completion."""

    names, partial = ("b",), False

    def __call__(self, x: Samples) -> Tensor:
        return ((x.action == 4) & x.mask).sum(-1).double()[None]


def world() -> World:
    reference = policy().double().frozen()
    prompts = reference.vocabulary.prompts(["a", "b c", "c d e", "e"] * 2)
    return World("words", Task(prompts=prompts, reference=reference, rewards=Bs()), prompts[:2])


def test_a_backbone_says_what_it_saves() -> None:
    small = policy().frozen()
    assert isinstance(small, EstimatesMemory)
    once, twice = small.saved_bytes(20), small.saved_bytes(40)
    assert 1.8 * once < twice < 3 * once, "a row's scores are quadratic in its length"
    deep, wide = policy(layers=8).saved_bytes(20), policy(width=64).saved_bytes(20)
    assert 3.5 * once < deep < 4.5 * once and 2 * once < wide < 4 * once, (once, deep, wide)
    assert not any(p.requires_grad or p.grad is not None for p in small.parameters())


def test_the_size_follows_memory_and_is_recorded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert micro_batch_size(world().task, LOOP) == 0, "a small model's step is one pass"
    whole = list(measure(grpo.recipe, world(), loop=LOOP))
    task, own = world().task, policy().double()
    assert task.longest_prompt == 4  # begin and three words
    trained = 32 * sum(p.numel() for p in own.parameters())  # four numbers of float64 each
    free = 8 * 3 * own.saved_bytes(4 + 6) + trained + 8
    monkeypatch.setattr(passes, "free_bytes", lambda device: free)
    assert micro_batch_size(task, LOOP) == 3
    run = Run.create(tmp_path / "run", {"run": {"eval_steps": 5, "micro_batch_size": 0}})
    parts = list(measure(grpo.recipe, world(), loop=LOOP, run=run))
    assert Run.open(tmp_path / "run").about["run"] == {"eval_steps": 5, "micro_batch_size": 3}
    for a, b in zip(whole, parts, strict=True):
        assert a["kl"] == pytest.approx(b["kl"], abs=1e-9)
        assert a["proxy"] == pytest.approx(b["proxy"], abs=1e-9)
