"""World hub with a function that compares two completions: asked in both orders, and trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_worlds_hub import files, small

from assay.core import InputError, Loop, Rng
from assay.engine.parallel import meter
from assay.models.samplers.geometric_mixture import GeometricMixture
from assay.recipes import nash_md, nash_mp

__all__ = ["files"]

COMPARES = """
CALLS = []
def shorter(prompts, first, second, other, **columns):
    CALLS.append(list(zip(prompts, first, second, other)))
    # a judge that favours what it reads first
    return [min(1.0, 0.2 + (len(a) < len(b)) * 0.6 + (len(a) == len(b)) * 0.3)
            for a, b in zip(first, second)]
def silent(prompts, first, second):
    return ["none"] * len(prompts)
"""


@pytest.fixture
def compares(tmp_path: Path) -> str:
    (tmp_path / "compares.py").write_text(COMPARES, encoding="utf-8")
    return str(tmp_path / "compares.py")


def test_a_function_that_compares_is_a_preference_model(
    files: dict[str, str], compares: str
) -> None:
    world = small(files, preference=f"{compares}:shorter")
    task = world.task
    x = task.reference.sample(task.prompts[torch.arange(3)], 4, Rng(0)("x"))
    before = dict(meter.counts)
    found = task.preference(x, x)
    assert meter.counts["compared"] - before["compared"] == 3 * 6
    torch.testing.assert_close(found, -found.mT)
    texts = x.text()
    for b in range(3):
        for i in range(4):
            for j in range(4):
                gap = (len(texts[b][i]) < len(texts[b][j])) - (len(texts[b][i]) > len(texts[b][j]))
                assert float(found[b, i, j]) == pytest.approx(0.3 * gap, abs=1e-6)


def test_nash_recipes_train_a_language_model_on_it(files: dict[str, str], compares: str) -> None:
    loop = Loop(max_steps=2, batch_size=2, num_generations=2, learning_rate=1e-3)
    for recipe, own in ((nash_md.recipe, {"mixture": 0.25}), (nash_mp.recipe, {"inner": 1})):
        task = small(files, preference=f"{compares}:shorter").task
        *_, last = recipe(task, loop=loop, **own)  # type: ignore[operator]
        moved = [
            float((p - q).detach().abs().max())
            for p, q in zip(last.policy.parameters(), task.reference.parameters(), strict=True)
        ]
        assert max(moved) > 0


def test_the_mixture_of_a_model_with_itself_draws_what_it_draws(files: dict[str, str]) -> None:
    reference = small(files).task.reference
    prompts = small(files).task.prompts[torch.arange(3)]
    alone = reference.sample(prompts, 3, Rng(0)("x"))
    mixed = GeometricMixture(reference, reference, weight=0.4).sample(prompts, 3, Rng(0)("x"))
    assert torch.equal(alone.action, mixed.action) and torch.equal(alone.ended, mixed.ended)
    torch.testing.assert_close(alone.logp, mixed.logp, rtol=1e-5, atol=1e-5)


def test_what_is_no_comparison_is_refused_before_a_model_is_loaded(
    files: dict[str, str], compares: str
) -> None:
    with pytest.raises(InputError, match=r"give FILE\.py:name"):
        small(files, preference="judge")
    with pytest.raises(InputError):
        small(files, preference=f"{compares}:silent")
    with pytest.raises(InputError, match="pass --preference"):
        _ = small(files).task.preference
