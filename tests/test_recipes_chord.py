"""CHORD: rewards and demonstrations in one loss, each a mean over its own tokens."""

from __future__ import annotations

import pytest
import torch
from small import small_world

from assay.core import Carry, InputError, Loop, Rng
from assay.recipes import chord
from assay.recipes.chord import recipe, side_by_side
from assay.rewards.policy_triples import by_prompt


def first_step(n: int = 4, rate: float = 3e-3, **constants):
    """The policy and the statistics after one step on the small world."""
    task = small_world(chord).task.replaced(carry=Carry(), rng=Rng(0))
    loop = Loop(max_steps=1, batch_size=6, num_generations=n, learning_rate=rate)
    return task, next(iter(recipe(task, loop=loop, **constants)))


def imitated(task, policy) -> float:
    x = by_prompt(task.demos)
    return float(policy.logp(x)[x.mask].mean())


def test_imitation_alone_makes_the_demonstrations_likelier_and_none_leaves_them() -> None:
    task, step = first_step(rate=1e-4, peak=1.0, valley=1.0, phi="one")
    assert step.stats["mu"] == 1.0
    with torch.no_grad():
        before, after = imitated(task, task.reference), imitated(task, step.policy)
    assert after > before
    # with μ = 1 the loss is the demonstrations' own mean over tokens, whatever was sampled
    _, other = first_step(n=3, peak=1.0, valley=1.0, phi="one")
    assert step.stats["loss"] == pytest.approx(other.stats["loss"], rel=1e-9)
    x = by_prompt(task.demos)[task.batch(Loop(batch_size=6), 0).row]
    with torch.no_grad():
        logp = task.reference.logp(x)
    assert step.stats["loss"] == pytest.approx(-float(logp[x.mask].mean()), rel=1e-9)


def test_the_parts_are_mixed_by_mu_and_the_control_has_the_mean_weight() -> None:
    def loss(mu: float, phi: str) -> float:
        return first_step(peak=mu, valley=mu, phi=phi)[1].stats["loss"]

    ends = loss(0.0, "p(1-p)"), loss(1.0, "p(1-p)")
    assert loss(0.25, "p(1-p)") == pytest.approx(0.75 * ends[0] + 0.25 * ends[1], abs=1e-12)
    _, step = first_step(peak=1.0, valley=1.0, phi="matched")
    assert 0 < step.stats["phi"] < 0.25
    assert step.stats["loss"] == pytest.approx(step.stats["phi"] * loss(1.0, "one"), rel=1e-9)
    assert step.stats["loss"] != pytest.approx(ends[1], rel=1e-3)


def test_demonstrations_stand_behind_the_completions_of_their_prompt() -> None:
    task = small_world(chord).task
    x = task.reference.sample(task.prompts, 2, Rng(1))
    expert = by_prompt(task.demos)
    both = side_by_side(x, expert[x.prompts.row])
    assert both.mask.shape[1] == 3 and [t[:2] for t in both.text()] == x.text()
    assert [t[2] for t in both.text()] == [t[0] for t in expert.text()]
    assert float(both.logp[:, 2].abs().max()) == 0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="--phi is 'q'"):
        first_step(phi="q")
    with pytest.raises(InputError, match="--peak is 0.1, --valley 0.5"):
        first_step(peak=0.1, valley=0.5)
