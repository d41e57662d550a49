"""Whose trust weighs a thinking reward: the paper's γ, none, and the two controls."""

from __future__ import annotations

import pytest
import torch
from small import small_world

from assay.core import Carry, InputError, Loop, Rng, Samples
from assay.recipes import trust_weighted
from assay.recipes.trust_weighted import recipe, weighed

GAMMA = torch.tensor([0.0, 1.0, 0.5, 0.8, 0.0, 0.37, 1.0, 0.61])


def test_the_controls_break_what_they_say_and_keep_the_rest() -> None:
    assert torch.equal(weighed(GAMMA, "own", Rng(0)), GAMMA)
    assert torch.equal(weighed(GAMMA, "off", Rng(0)), torch.ones(8))
    shuffled, mean = (weighed(GAMMA, trust, Rng(0)) for trust in ("shuffled", "mean"))
    assert torch.allclose(mean, torch.full((8,), float(GAMMA.mean())))
    assert sorted(shuffled.tolist()) == sorted(GAMMA.tolist())
    assert not torch.equal(shuffled, GAMMA)
    passed = GAMMA > 0
    assert torch.equal(shuffled > 0, passed)  # the gate is each prompt's own
    together = torch.stack([weighed(GAMMA, "shuffled", Rng(k)) for k in range(400)]).mean(0)
    assert torch.allclose(together[passed], GAMMA[passed].mean(), atol=0.1)  # γ is not
    assert torch.equal(weighed(GAMMA, "gate", Rng(0)), passed.float())  # the gate without γ
    none = torch.zeros(8)
    assert torch.equal(weighed(none, "shuffled", Rng(0)), none)


def rewards(trust: str, **more: object) -> list[tuple[Samples, torch.Tensor]]:
    """What the first step's completions are paid."""
    task = small_world(trust_weighted).task.replaced(carry=Carry(), rng=Rng(0))
    loop = Loop(max_steps=1, batch_size=12, num_generations=8, learning_rate=1e-3)
    step = next(iter(recipe(task, trust=trust, **more, loop=loop)))  # type: ignore[arg-type]
    x = task.reference.sample(task.prompts, 8, Rng(5))
    assert step.reward is not None
    return [(x, step.reward(x))]


@pytest.mark.full
def test_trust_is_full_where_thinking_agrees_and_lower_where_it_does_not() -> None:
    task = small_world(trust_weighted).task
    [(x, own)], [(_, off)] = rewards("own", T=0.0), rewards("off", T=0.0)
    outcome, thinking = task.rewards.named("outcome")(x)[0], task.rewards.named("thinking")(x)[0]
    assert torch.allclose(off, outcome + 0.3 * thinking)
    for b in range(len(x)):
        good = outcome[b] > 0.5
        if bool(good.all()) or not bool(good.any()):
            assert torch.equal(own[b], outcome[b])
            continue
        gap = thinking[b][good].mean() - thinking[b][~good].mean()
        gamma = gap.clamp(max=0).exp()
        assert torch.allclose(own[b], outcome[b] + 0.3 * gamma * thinking[b])
    with pytest.raises(InputError, match="--trust is 'mine'"):
        rewards("mine")
