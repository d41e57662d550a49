"""What self-play on a preference model does with numbers out of range, and with what a user gets
wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_recipes_self_play import D, task

from assay.core import Loop
from assay.engine.nonfinite import Event, nonfinite
from assay.errors import InputError
from assay.formulas.self_play import magnetic_loss
from assay.loops.self_play import every_completion
from assay.models.policies.table import TablePolicy
from assay.recipes import dno, inpo, magnetic_mirror_descent, spo


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_ratio_out_of_range_is_a_number_and_pulls_back(alpha: float) -> None:
    x = torch.tensor([-1e4, 39.0, 41.0, 1e4], requires_grad=True)
    loss = magnetic_loss(x, x, torch.ones(4), eta=0.5, alpha=alpha)
    (slope,) = torch.autograd.grad(loss.sum(), x)
    assert loss.isfinite().all() and slope.isfinite().all()
    assert bool((slope[1:] > 1e15).all()) and float(slope[0]) == 0


@pytest.mark.parametrize("recipe", [inpo.recipe, dno.recipe])
def test_a_log_probability_of_sampling_that_is_not_finite_is_named(recipe: Any) -> None:
    """π_k's numbers are read in every step of a round, when the policy's own are finite again."""
    found: list[Event] = []
    t, draw = task(), TablePolicy.sample

    def broken(self: Any, *given: Any) -> Any:
        x = draw(self, *given)
        logp = x.logp.clone()
        logp[1, 0] = torch.nan
        return replace(x, logp=logp)

    t.reference.copy = lambda: copied
    copied = TablePolicy(t.reference.logits.clone())
    copied.sample = broken.__get__(copied)  # type: ignore[method-assign]
    loop = Loop(max_steps=3, batch_size=4, num_generations=4)
    with nonfinite.into(found):
        list(recipe(t, round_steps=3, loop=loop))
    assert len(found) == 3
    assert {e.what for e in found} == {"log-probability under the policy"}
    assert all(e.count and e.step is not None and e.step.skipped for e in found)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (lambda t: inpo.recipe(t, share=1.2), "--share 1.2"),
        (lambda t: inpo.recipe(t, select="some"), "--select is 'some'"),
        (lambda t: inpo.recipe(t, round_steps=0), "--round-steps is 0"),
        (lambda t: inpo.recipe(t, loop=Loop(num_generations=1)), "--num-generations is 1"),
        (lambda t: dno.recipe(t, form="other"), "--form is 'other'"),
        (lambda t: dno.recipe(t, margin=2.0), "--margin 2.0"),
        (lambda t: dno.recipe(t, shuffled=True, loop=Loop(batch_size=1)), "a round has 1 prompt"),
        (lambda t: spo.recipe(t, eta=0.0), "--eta is 0.0"),
        (lambda t: magnetic_mirror_descent.recipe(t, kappa=0.5), "use --exact or 0"),
        (lambda t: magnetic_mirror_descent.recipe(t, alpha=-1.0), "--alpha -1.0"),
        (
            lambda t: magnetic_mirror_descent.recipe(t, loop=Loop(num_generations=1)),
            "--num-generations is 1",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_named(steps: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(steps(task()))


def test_exact_steps_need_a_table_of_one_decision() -> None:
    bag = TablePolicy(torch.zeros(1, 3, dtype=D), length=4)
    with pytest.raises(InputError, match="a table of one decision"):
        every_completion(bag)
