"""Process verifiers: which prefixes are labelled, what the labels count, and what a fit learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import SIZES
from torch import Tensor

from assay.core import InputError, Loop, Rng, Samples, World
from assay.loops.verifiers import Labels, collected, continued, fitted_verifier, values
from assay.models.policies.markov import MarkovPolicy, MarkovValueHead
from assay.recipes import process_advantage
from assay.worlds import sums, table
from assay.worlds.visits import VisitReward


@pytest.fixture(scope="module")
def world() -> World:
    return table.world(testbed="chain", horizon=20, seed=1)


def right(world: World) -> MarkovPolicy:
    """A prover that always goes right."""
    reference: Any = world.task.reference
    logits = torch.tensor([-30.0, 30.0]).expand(reference.logits.shape)
    return MarkovPolicy(logits, reference.process)


def success(world: World) -> Any:
    return lambda y: (world.task.rewards(y)[0] >= 0.3).to(y.logp)


def labels(world: World, prover: Any, **more: Any) -> Labels:
    given: dict[str, Any] = {"solutions": 3, "prefixes": 2, "rollouts": 4, **more}
    return collected(
        world.task.reference,
        prover,
        world.task.prompts[:6],
        step_of=world.task.rewards.step_of,
        success=success(world),
        rng=Rng(2),
        **given,
    )


def test_labels_are_of_inner_prefixes_and_of_each_prompt_once(world: World) -> None:
    found = labels(world, right(world))
    last = found.step.amax(-1)
    assert bool(found.here[:, 0, 0].all()) and not bool(found.here[:, 1:, 0].any())
    assert int(found.here[..., 1:].sum(-1).max()) == 2
    place = found.here[..., 1:].nonzero()
    assert bool((place[:, 2] < last[place[:, 0], place[:, 1]]).all()), "a finished one has no label"
    assert bool(((found.wins >= 0) & (found.wins <= 4)).all())
    assert bool((found.wins[~found.here] == 0).all())
    assert int(labels(world, right(world), prefixes=99).here.sum()) > int(found.here.sum())


def test_a_label_counts_the_prover_from_its_own_prefix(world: World) -> None:
    """Who always goes right arrives from the start: 12 steps, 5 in 100 of them backwards; and from
    the last place at once, whatever came before it.
    """
    prover, x = right(world), world.task.reference.sample(world.task.prompts[:2], 2, Rng(3))
    step = world.task.rewards.step_of(x)
    here = torch.zeros(2, 2, int(step.max()) + 2, dtype=torch.bool)
    here[:, 0, 0] = True
    wins = continued(prover, x, step, here, success(world), 32, Rng(4))
    assert float(wins[:, 0, 0].min()) > 24
    near = x.extra["state"].clone()
    near[..., 1] = 16  # one step to the right end
    moved = Samples(x.prompts, x.action, x.mask, x.given, x.logp, x.ended, extra={"state": near})
    one = torch.zeros_like(here)
    one[:, 1, 1] = True
    assert (
        float(continued(prover, moved, step, one, success(world), 32, Rng(4))[:, 1, 1].min()) > 29
    )
    back = MarkovPolicy(-prover.logits, prover.process)
    assert float(continued(back, x, step, here, success(world), 32, Rng(4)).sum()) == 0


class Counts(torch.nn.Module):
    """A verifier that says how many tokens it has read, 5 more for the second completion."""

    def forward(self, x: Samples) -> Tensor:
        return torch.arange(10.0).reshape(1, 2, 5, 1)


def test_values_are_read_at_the_ends_of_steps(world: World) -> None:
    step = torch.tensor([[[0, 0, 1, -1], [0, 1, 2, 2]]])
    found = values(Counts(), world.task.pairs, step)
    assert found[0, 0, :3].tolist() == [0.0, 2.0, 3.0]
    assert found[0, 1].tolist() == [5.0, 6.0, 7.0, 9.0]


def test_a_fit_learns_chances_and_shuffled_labels_teach_none(world: World) -> None:
    found = labels(world, right(world), solutions=16, prefixes=8, rollouts=2)
    at = found.samples.extra["state"][..., : found.here.shape[-1]]
    truth = torch.sigmoid((at.float() - 5) / 2)  # a chance that depends on the place alone
    loop = Loop(max_steps=150, batch_size=8, learning_rate=0.1)

    def fit(target: Tensor) -> dict[str, float]:
        head: Any = world.task.reference.value_head(1, Rng(5))  # type: ignore[attr-defined]
        assert isinstance(head, MarkovValueHead)
        return fitted_verifier(head, found, target, loop=loop, held_out=0.3, rng=Rng(6))

    known = fit(truth)
    assert known["error"] < 0.2 * known["error_of_mean"] and known["labels"] == found.here.sum()
    none = fit(process_advantage.elsewhere(truth, found, Rng(7)))
    assert none["error"] > 0.8 * none["error_of_mean"]
    mixed = process_advantage.elsewhere(truth, found, Rng(7))
    torch.testing.assert_close(mixed[found.here].sort().values, truth[found.here].sort().values)
    assert torch.equal(mixed[~found.here], truth[~found.here])


@pytest.mark.full
def test_steps_of_scratch_work_have_a_verifier_too(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On sums, with a network's value head: labels are paid for once, then steps are not."""
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    world = sums.world(**SIZES["sums"], seed=1)
    loop = Loop(max_steps=2, batch_size=4, num_generations=4, learning_rate=1e-3)
    steps = list(process_advantage.recipe(world.task, verifier_steps=5, examples=6, loop=loop))
    assert len(steps) == 2 and steps[0].stats["verifier/labels"] > 6
    assert steps[0].stats["verifier/error"] == steps[1].stats["verifier/error"]
    with pytest.raises(InputError, match="at least 2 examples"):
        next(process_advantage.recipe(world.task, examples=1, loop=loop))


def test_the_room_that_the_claim_counts_on_ends_at_the_best_policy() -> None:
    """Backward induction over the claim's own chain."""
    claim: Any = process_advantage.claim
    found = table.world(**claim.on["table"], seed=0)
    reference, gold = found.task.reference, found.gold
    assert isinstance(reference, MarkovPolicy) and isinstance(gold, VisitReward)
    p, value = reference.process, torch.zeros(len(reference.process.states), dtype=torch.float64)
    for _ in range(p.horizon):
        value = (gold.table[0].double() + p.gamma * p.P @ value).amax(-1)
    assert float(p.start @ value) == pytest.approx(process_advantage.BEST, abs=1e-3)
    assert claim.least["room"] > claim.least["over outcome"]
