"""C-MORL: floors that constrain and one that does not, what is kept, and who is trained when."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import small_world
from torch import Tensor

from assay.core import Loop
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.formulas.interior_point import barrier_weights, floors_under, ratio_barrier
from assay.loops.fronts import Front, least_crowded
from assay.models.policies.table import TablePolicy
from assay.recipes import c_morl

F = torch.float64


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F, generator=torch.Generator().manual_seed(seed))


def test_barrier_weights_are_the_gradient_of_the_log_barrier() -> None:
    J = torch.tensor([0.7, 0.5, 0.9], dtype=F, requires_grad=True)
    floors = torch.tensor([0.6, 0.3, 0.2], dtype=F)
    log = ((J - floors).log())[[0, 2]].mean() / 20
    (expected,) = torch.autograd.grad(log, J)
    found = barrier_weights(J.detach(), floors, objective=1, t=20.0)
    torch.testing.assert_close(found, expected)
    below = barrier_weights(torch.tensor([0.1, 0.5, 0.9]), floors.float(), objective=1, t=20.0)
    assert float(below[0]) == pytest.approx(1 / (20 * 2 * 1e-3)), "pulled up, and finite"
    start = torch.tensor([1.0, -1.0])
    assert floors_under(start, beta=0.9).tolist() == pytest.approx([0.9, -1.1])


def test_the_released_barrier_constrains_nothing_and_the_papers_does() -> None:
    """Expected gradients on a softmax of five arms, by enumeration."""
    theta = numbers(5).requires_grad_()
    rewards, floors = numbers(2, 5, seed=1).abs(), torch.zeros(2, dtype=F)
    p = theta.softmax(-1).detach()
    J = (p * rewards).sum(-1)

    def gradient(loss: Tensor) -> Tensor:
        (g,) = torch.autograd.grad((p * loss).sum(), theta, retain_graph=True)
        return g

    rho = (theta.log_softmax(-1) - p.log()).exp()
    known: dict[str, Any] = {"objective": 0, "beta": 0.9, "t": 20.0}
    one, other = (ratio_barrier(rho, r, **known) for r in (J, 3 * J.flip(0)))
    assert float(gradient(one).abs().max()) < 1e-12, "in expectation it is 0"
    (each,) = torch.autograd.grad(one[2], theta, retain_graph=True)
    (same,) = torch.autograd.grad(other[2], theta, retain_graph=True)
    torch.testing.assert_close(each, same)  # no objective is in it

    weight = barrier_weights(J, floors, objective=0, t=20.0)
    mine = gradient(-rho * (weight[:, None] * (rewards - J[:, None])).sum(0))
    (exact,) = torch.autograd.grad(
        -((theta.softmax(-1) * rewards[1]).sum() - floors[1]).log() / 20, theta
    )
    assert float(exact.abs().max()) > 1e-3
    torch.testing.assert_close(mine, exact)


def test_weightings_are_the_simplex() -> None:
    for members, parts, many in ((2, 5, 6), (3, 4, 15), (4, 2, 10)):
        w = c_morl.grid(members, parts)
        assert w.shape == (many, members) and len({tuple(r) for r in w.tolist()}) == many
        torch.testing.assert_close(w.sum(1), torch.ones(many, dtype=F))
        assert float(w.min()) == 0


def test_a_front_keeps_what_nothing_dominates_and_drops_the_most_crowded() -> None:
    front = Front(3)
    came = ((0.0, 1.0), (0.5, 0.5), (0.4, 0.4), (1.0, 0.0), (0.6, 0.6), (0.2, 0.9))
    for first, second in came:
        policy = TablePolicy(torch.full((1, 2), first))
        front.add(torch.tensor([[first, second]], dtype=F), policy)
    assert front.points is not None
    assert front.points.tolist() == [[0.0, 1.0], [1.0, 0.0], [0.6, 0.6]]
    for at, state in zip(front.points, front.states, strict=True):
        assert float(state["logits"][0, 0]) == pytest.approx(float(at[0])), "each with its weights"
    other = Front(3)
    other.load_state_dict(front.state_dict())
    assert other.points is not None and torch.equal(other.points, front.points)
    ends = least_crowded(torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.6, 0.5], [1.0, 0.0]]), 3)
    assert sorted(ends.tolist()) == [0, 2, 3]


LOOP = Loop(max_steps=11, batch_size=4, num_generations=16, learning_rate=0.3)


def run(loop: Loop = LOOP, **given: Any) -> list[dict[str, Any]]:
    config = MeasureConfig(eval_steps=1, eval_generations=8)
    arguments = {"parts": 2, "first": 1, "select": 2, "extend": 2, **given}
    world = small_world(c_morl)
    return list(measure(c_morl.recipe, world, loop=loop, arguments=arguments, config=config))


def test_weightings_come_first_and_then_each_objective_of_each_selected_policy() -> None:
    rows = run()
    on = [r for r in rows if r["tag"] == "" and r["step"] > 0]
    assert [r["stats"]["front/stage"] for r in on] == [1.0] * 3 + [2.0] * 8
    gold = [[r["stats"][f"exact/objective{m}"] for m in (0, 1)] for r in rows if r["tag"] != "best"]
    assert gold[3][0] > gold[0][0] and gold[1][1] > gold[0][1], "the corner weightings learn theirs"
    volumes = [r["stats"]["front/hypervolume"] for r in on]
    assert volumes == sorted(volumes) and volumes[-1] > 0, "nothing is lost"
    tags = {r["tag"] for r in rows}
    assert "front=0" in tags and max(r["stats"]["front/size"] for r in on) >= 2


def test_floors_change_extensions_and_nothing_before() -> None:
    ends = {}
    for barrier in ("mean", "ratio", "none"):
        on = [r for r in run(barrier=barrier) if r["tag"] == ""]
        ends[barrier] = [r["stats"]["exact/objective0"] for r in on]
    assert ends["mean"][:3] == ends["ratio"][:3] == ends["none"][:3]
    assert ends["mean"][3:] != ends["none"][3:] != ends["ratio"][3:]


def test_faults_are_told() -> None:
    for given, said in (
        ({"members": 1}, "--members is 1"),
        ({"beta": 2.0}, "--beta is 2.0"),
        ({"t": 0.0}, "--t 0.0"),
    ):
        with pytest.raises(InputError, match=said):
            run(Loop(max_steps=1), **given)
