"""Dynamic weights and fronts: laws of the volume, of the weights, and of what cancels."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from test_contract import drive

from assay.core import InputError, Loop
from assay.engine.descend import descend, inner_products, micro_batches
from assay.formulas.pareto import (
    crowding_distance,
    expected_utility,
    hypervolume,
    hypervolume_weight,
    influence_weights,
    mixture_area,
    nondominated,
    sparsity,
    supporting,
)
from assay.formulas.reduce import per_completion
from assay.recipes import dynamic_weights
from assay.worlds import table

LOOP = Loop(max_steps=3, batch_size=4, num_generations=8, learning_rate=0.1)


@pytest.fixture(scope="module")
def trade() -> Any:
    return table.world(testbed="trade", members=2, prompts=4, seed=1)


@pytest.mark.parametrize("M", [1, 2, 3, 4])
def test_the_hypervolume_is_inclusion_and_exclusion_of_boxes(M: int) -> None:
    p = torch.rand(6, M, dtype=torch.float64, generator=torch.Generator().manual_seed(M)) - 0.2
    total = 0.0
    for k in range(1, 7):
        for some in itertools.combinations(range(6), k):
            corner = p[list(some)].amin(0).clamp(min=0)
            total += (-1) ** (k + 1) * float(corner.prod())
    assert float(hypervolume(p, torch.zeros(M))) == pytest.approx(total, abs=1e-12)


def test_a_dominated_point_adds_no_volume_and_a_shift_changes_none() -> None:
    p = torch.tensor([[0.2, 0.9], [0.9, 0.2], [0.9, 0.2], [0.1, 0.1]])
    assert nondominated(p).tolist() == [True, True, True, False]
    whole = hypervolume(p, torch.zeros(2))
    assert torch.equal(whole, hypervolume(p[:2], torch.zeros(2)))
    assert float(hypervolume(p + 3, torch.full((2,), 3.0))) == pytest.approx(float(whole), rel=1e-6)
    with pytest.raises(ValueError, match="NaN"):
        hypervolume(torch.tensor([[torch.nan, 1.0]]), torch.zeros(2))


def test_crowding_sparsity_and_utility_of_a_front_by_hand() -> None:
    p = torch.tensor([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]])
    assert crowding_distance(p).tolist() == [torch.inf, 2.0, torch.inf]
    flat = torch.cat([p, torch.ones(3, 1)], 1)  # a constant objective says nothing
    assert crowding_distance(flat).tolist() == [torch.inf, 2.0, torch.inf]
    assert float(sparsity(p)) == pytest.approx((1 + 9 + 9 + 1) / 2)
    w = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    assert float(expected_utility(p, w)) == pytest.approx((4 + 2) / 2)


def test_no_policy_lies_above_the_exact_front(trade: Any) -> None:
    values = trade.gold.values
    first = torch.linspace(0, 1, 101, dtype=torch.float64)
    weights = torch.stack([first, 1 - first], 1)
    corners = supporting(values, weights)
    logits = 5 * torch.randn(500, *values.shape[:2], generator=torch.Generator().manual_seed(0))
    means = torch.einsum("prv,rvm->pm", logits.softmax(-1).double(), values.double()) / 4
    best = (weights * corners).sum(1)  # what the front is worth to each weighting
    assert bool((means @ weights.T <= best + 1e-9).all())
    zero = torch.zeros(2)
    every = list(itertools.product(range(values.shape[1]), repeat=2))
    two = values[:2].double()
    found = torch.stack([(two[0, a] + two[1, b]) / 2 for a, b in every])  # all deterministic ones
    assert float(mixture_area(found, zero)) == pytest.approx(
        float(mixture_area(supporting(two, weights), zero)), rel=1e-3
    )
    assert float(mixture_area(corners, zero)) >= float(hypervolume(means, zero))


def test_mixtures_of_two_ends_dominate_a_triangle() -> None:
    ends = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.2, 0.2]])
    assert float(mixture_area(ends, torch.zeros(2))) == pytest.approx(0.5)
    assert float(mixture_area(torch.tensor([[1.0, 2.0]]), torch.zeros(2))) == pytest.approx(2.0)


def test_an_objective_whose_gradient_helps_all_gains_weight() -> None:
    g = torch.tensor([[1.0, 0.0], [0.5, 0.5], [-0.2, 0.0]], dtype=torch.float64)
    w = torch.tensor([0.2, 0.3, 0.5])
    new = influence_weights(w, g @ g.T, rate=0.5)
    expected = w.double() * torch.exp(0.5 * (g @ g.sum(0)))
    assert torch.allclose(new, expected / expected.sum())
    assert torch.allclose(influence_weights(w, g @ g.T, rate=0.0), w.double())
    assert float(hypervolume_weight(torch.tensor(0.0))) == 0.5
    assert float(hypervolume_weight(torch.tensor(50.0))) == 2.0


def test_inner_products_are_those_of_clipped_gradients_in_any_passes(trade: Any) -> None:
    policy = trade.task.reference.copy().double()
    optimiser = LOOP.optimiser(policy)
    x = policy.sample(trade.task.prompts, 6, trade.task.rng("x"))
    A = trade.task.rewards(x).double()

    def of(k: int, scale: float) -> Any:
        return lambda rows, i: -scale * A[k][i][..., None] * policy.logp(rows)

    losses = [of(0, 1.0), of(1, 1.0), of(1, 1000.0)]
    found = inner_products(optimiser, losses, x, reduce=per_completion, split="completions")
    grads = []
    for loss in losses:
        w = per_completion(x.mask)
        (g,) = torch.autograd.grad((w * loss(x, torch.arange(4))).sum(), [policy.logits])
        grads.append((g / max(1.0, float(g.norm()))).flatten())
    g = torch.stack(grads)
    assert torch.allclose(found, g @ g.T, atol=1e-9)
    assert found[2, 2] == pytest.approx(1.0)
    with micro_batches(3):
        parts = inner_products(optimiser, losses, x, reduce=per_completion, split="completions")
    assert torch.allclose(found, parts, atol=1e-9)
    assert policy.logits.grad is None and optimiser.updates == 0
    descend(optimiser, losses[0], x, reduce=per_completion)
    assert optimiser.updates == 1


def ends(trade: Any, **arguments: Any) -> tuple[list[Any], dict[str, float]]:
    rs = [r for r in drive(dynamic_weights, trade, arguments, LOOP) if r["tag"] != "best"]
    return [r["golds"] for r in rs], rs[-1]["stats"]


def test_standardised_advantages_cancel_what_the_hypervolume_multiplies(trade: Any) -> None:
    fixed, _ = ends(trade, method="fixed", standardise=True)
    moved, stats = ends(trade, method="hypervolume", standardise=True)
    assert stats["weights/factor"] != 1.0
    assert torch.allclose(torch.tensor(fixed), torch.tensor(moved), atol=1e-3)
    free, _ = ends(trade, method="hypervolume", beta=0.3)
    plain, _ = ends(trade, method="fixed", beta=0.3)
    assert not torch.allclose(torch.tensor(free), torch.tensor(plain), atol=1e-3)


def test_weights_stay_on_the_simplex_and_only_moving_ones_move(trade: Any) -> None:
    for method, rate in (("gradient", 10.0), ("drift", 0.3), ("fixed", 1.0)):
        _, stats = ends(trade, method=method, rate=rate, weights=(3.0, 1.0))
        w = [stats[f"weights/objective{k}"] for k in (0, 1)]
        assert sum(w) == pytest.approx(1.0)
        assert (w[0] == 0.75) == (method == "fixed")


def test_a_validation_that_gains_pays_more_than_half(trade: Any) -> None:
    _, stats = ends(trade, method="hypervolume", validation=64)
    assert stats["weights/gain"] > 0
    assert stats["weights/factor"] == pytest.approx(
        float(hypervolume_weight(torch.tensor(stats["weights/gain"]))), abs=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "best"}, "--method is 'best'"),
        ({"weights": (1.0,)}, "--weights is 1.0 for 2 rewards"),
        ({"weights": (1.0, 0.0)}, "above 0"),
        ({"validation": 0}, "--validation is 0"),
    ],
)
def test_what_cannot_be_meant_is_refused(trade: Any, arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ends(trade, **arguments)


def test_a_trade_needs_two_objectives_and_more_arms() -> None:
    with pytest.raises(InputError, match="--world.members is 1"):
        table.world(testbed="trade", members=1)
    with pytest.raises(InputError, match="more arms than objectives"):
        table.world(testbed="trade", members=3, arms=3)
