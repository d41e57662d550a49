"""The bandit of bins: exact starts, losses that say what they should, equal budgets, bad input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import InputError, Rng
from assay.formulas.pairwise import dpo
from assay.loops.binned_bandit import METHODS, Bandit, Constants, better, loss
from assay.recipes.mode_seeking import dealt, places_of, study
from assay.worlds import study as world_study

CONSTANTS = Constants(beta=0.2, target=3.0, temperature=0.1, clip=0.2, negative=True)
SMALL: dict[str, Any] = {"contexts": 12, "features": 8, "rounds": 3, "reuse": 2, "n": 5}


@pytest.fixture
def made() -> tuple[Bandit, Any, Any]:
    bandit = Bandit(30, 22.0)
    net = bandit.policy(4, Rng(1))
    context = Rng(2).uniform(torch.arange(6)[:, None], torch.arange(4))
    return bandit, net, bandit.draw(net, context, 5, Rng(3))


def test_a_policy_starts_at_the_data_and_draws_as_it(made: tuple[Bandit, Any, Any]) -> None:
    bandit, net, x = made
    assert abs(bandit.reading(net, x.context)["kl"]) < 1e-6
    torch.testing.assert_close(x.logp, x.ref_logp)
    many = bandit.draw(None, x.context[:1], 20_000, Rng(4)).action[0]
    share = torch.bincount(many, minlength=30) / 20_000
    assert (share - bandit.data).abs().max() < 0.01
    assert bandit.reading(net, x.context)["reward"] == pytest.approx(
        float(bandit.data @ bandit.worth), abs=1e-6
    )


def test_rewards_have_the_paper_s_peak() -> None:
    worth = Bandit(100, 70.0).worth
    assert worth[70] == 1 and worth[60] == pytest.approx(2.718281828**-1)


def slopes(method: str, made: tuple[Bandit, Any, Any], constants: Constants) -> Tensor:
    """Derivative of a method's loss in each completion's log-probability."""
    _, _, x = made
    logp = x.logp.clone().requires_grad_()
    METHODS[method](logp, x, constants).sum().backward()
    return logp.grad  # type: ignore[return-value]


@pytest.mark.parametrize("method", METHODS)
def test_only_methods_with_a_negative_gradient_push_anything_down(
    method: str, made: tuple[Bandit, Any, Any]
) -> None:
    assert (slopes(method, made, CONSTANTS) > 0).any() == (
        method in ("dpo", "ipo", "reinforce", "ppo")
    )
    assert not (slopes(method, made, replace(CONSTANTS, negative=False)) > 1e-9).any()


def test_without_the_negative_gradient_the_winners_are_pushed_as_before(
    made: tuple[Bandit, Any, Any],
) -> None:
    """The best completion of a context is nobody's loser, so that its slope stays."""
    _, _, x = made
    best = x.reward.argmax(1, keepdim=True)
    for method in ("dpo", "ipo", "reinforce"):
        with_, without = (
            slopes(method, made, replace(CONSTANTS, negative=n)).gather(1, best)
            for n in (True, False)
        )
        torch.testing.assert_close(with_, without)


def test_dpo_is_the_mean_over_pairs_that_do_not_tie(made: tuple[Bandit, Any, Any]) -> None:
    _, net, x = made
    with torch.no_grad():
        net.layers[5].add_(torch.linspace(0, 1, 30))
        found = loss("dpo", net, x, CONSTANTS)
        ratio = net(x.context).log_softmax(-1).gather(1, x.action) - x.ref_logp
    for s in range(len(x)):
        each = [
            dpo(ratio[s, i], ratio[s, j], beta=0.2)
            for i in range(5)
            for j in range(5)
            if x.reward[s, i] > x.reward[s, j]
        ]
        torch.testing.assert_close(found[s], torch.stack(each).mean())


def test_ties_are_no_pairs() -> None:
    assert better(torch.ones(1, 3)).sum() == 0
    assert better(torch.tensor([[2.0, 1.0, 1.0]])).tolist() == [[[0, 0.5, 0.5], [0] * 3, [0] * 3]]


def test_mixed_rewards_are_the_same_rewards_elsewhere(made: tuple[Bandit, Any, Any]) -> None:
    _, _, x = made
    y = dealt(x, Rng(9).uniform(*places_of(x)))
    assert torch.equal(y.reward.sort(1).values, x.reward.sort(1).values)
    assert torch.equal(y.action, x.action) and not torch.equal(y.reward, x.reward)


def test_every_method_has_the_same_queries_and_updates_and_its_own_curve() -> None:
    world, ends = world_study.world(seed=3), set[float]()
    for method in METHODS:
        *runs, spent = study(world, method=method, **SMALL)
        assert [r["centre"] for r in runs] == [70.0, 20.0]
        assert spent["scored"] == 2 * 3 * 12 * 5 and spent["updates"] == 2 * 3 * 2
        assert len(runs[0]["curve"]) == 4 and runs[0]["end"] != runs[0]["start"]
        ends.add(runs[0]["end"])
        again = list(study(world, method=method, **SMALL))
        assert again[:-1] == runs
    assert len(ends) == len(METHODS)


def test_own_completions_find_what_the_data_hardly_has() -> None:
    world, how = world_study.world(seed=0), {"rounds": 8, "contexts": 30, "centres": (70.0,)}
    on, off = (next(study(world, on_policy=p, **how))["end"] for p in (True, False))  # type: ignore[arg-type]
    assert on > off + 0.3


def test_what_cannot_be_run_is_said() -> None:
    world = world_study.world(seed=0)
    for how, said in (
        ({"method": "grpo"}, "--method is 'grpo'; it is one of best_of_n"),
        ({"n": 1}, "--n 1"),
        ({"method": "awr", "negative": False}, "awr pushes nothing down"),
        ({"method": "ppo", "on_policy": False}, "ppo learns from its own completions"),
    ):
        with pytest.raises(InputError, match=said):
            next(study(world, **how))  # type: ignore[arg-type]
