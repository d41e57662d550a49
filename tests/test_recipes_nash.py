"""Nash-MD and Nash mirror prox: rates, floors, gradients, and the door in front of preferences."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Loop, Rng, Samples, Task
from assay.engine.parallel import meter
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.games import geometric_mixture, regularised_nash
from assay.models.policies.table import TablePolicy
from assay.models.samplers.geometric_mixture import GeometricMixture, between
from assay.recipes import nash_md, nash_mp
from assay.rewards.general_preference import SkewPreference, shares
from assay.worlds.table import world

RPS = torch.tensor([[0.5, 0, 1], [1, 0.5, 0], [0, 1, 0.5]], dtype=torch.float64)
MU = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def table(probs: Tensor = MU, length: int = 1) -> TablePolicy:
    policy = TablePolicy(probs.log()[None], length=length)
    return policy.requires_grad_(False)


def task(P: Tensor = RPS, mu: Tensor = MU, length: int = 1) -> Task:
    """A preference game as a recipe is given it."""
    reference = table(mu, length)
    return Task(
        prompts=reference.prompts(torch.arange(4)),
        reference=reference,
        preference=SkewPreference(P - 0.5, link="linear"),
    )


def distances(recipe: Any, steps: int, *, P: Tensor = RPS, **constants: Any) -> list[float]:
    """KL(π*‖π_k) after each exact step."""
    star = regularised_nash(P, MU, tau=constants["tau"]).log()
    run = recipe(task(P), exact=True, loop=Loop(max_steps=steps), **constants)
    return [float(kl_full(star, s.policy.logits[0].detach())) for s in run]


# ---- exact Nash-MD


def test_with_decreasing_steps_nash_md_stays_below_its_bound_and_falls_at_least_as_one_over_k() -> (
    None
):
    found, tau = distances(nash_md.recipe, 500, tau=0.1), 0.1
    assert all(d <= 8 / (tau**2 * (k + 2)) for k, d in enumerate(found))
    slope = math.log(found[499] / found[49]) / math.log(10)
    assert slope < -1.5  # about −2: the bias falls as η², faster than the bound
    assert found[499] < 2e-6


@pytest.mark.parametrize(("eta", "floor"), [(0.5, 1.44e-4), (2.0, 3.04e-3)])
def test_with_a_constant_step_nash_md_stops_at_a_floor(eta: float, floor: float) -> None:
    """The bias of asking about the mixture, about η²: it depends on μ, and no more steps help."""
    found = distances(nash_md.recipe, 400, tau=0.1, eta=eta)
    assert found[199] == pytest.approx(floor, rel=0.02)
    assert found[399] == pytest.approx(found[299], rel=1e-3)
    prox = distances(nash_mp.recipe, 400, tau=0.1, eta=eta, lookahead=False)
    assert prox[-1] < 1e-3 * floor  # the floor is the mixture's: the proximal step has none


def test_one_step_is_the_papers_formula() -> None:
    first = next(nash_md.recipe(task(), exact=True, tau=0.2, eta=1.5, loop=Loop(max_steps=1)))
    m = MU  # at k = 0 the mixture of μ with itself
    want = (m.log() + 1.5 * RPS @ m).softmax(-1)
    torch.testing.assert_close(first.policy.logits[0].softmax(-1), want)  # type: ignore[union-attr]
    steps = list(nash_md.recipe(task(), exact=True, tau=0.2, eta=1.5, loop=Loop(max_steps=2)))
    m = geometric_mixture(want, MU, weight=0.3)
    torch.testing.assert_close(
        steps[1].policy.logits[0].softmax(-1),  # type: ignore[union-attr]
        (m.log() + 1.5 * RPS @ m).softmax(-1),
    )


# ---- exact Nash-MP


def test_mirror_prox_converges_linearly_where_tuned_descent_turns_in_circles() -> None:
    """τ = .01 and 100 queries: the rate (1 + 2τ)^(−N/2) is a bound, here from the first KL on."""
    found = distances(nash_mp.recipe, 50, tau=0.01)
    rivals = [
        distances(nash_mp.recipe, 100, tau=0.01, eta=eta, lookahead=False)[-1]
        for eta in (0.05, 0.1, 0.5, 2.0)
    ]
    assert found[-1] < 1e-7
    assert min(rivals) > 1e-2 and rivals[-1] > 1  # η = 2 goes outwards
    assert all(later < d * 1.02**-1 for d, later in pairwise(found))


def test_on_an_easy_game_mirror_prox_gains_nothing() -> None:
    """Bradley–Terry, τ = .1: the look-ahead costs half of the queries and saves none."""
    u = torch.tensor([1.0, 0.0, -1.0]).double()
    P = torch.sigmoid(u[:, None] - u)
    prox = distances(nash_mp.recipe, 20, P=P, tau=0.1)[-1]
    assert distances(nash_mp.recipe, 40, P=P, tau=0.1, lookahead=False)[-1] < prox


def test_a_step_of_mirror_prox_asks_twice_and_every_comparison_is_counted() -> None:
    for lookahead, queries in ((True, 10), (False, 5)):
        before = dict(meter.counts)
        run = list(nash_mp.recipe(task(), exact=True, lookahead=lookahead, loop=Loop(max_steps=5)))
        assert run[-1].stats["queries"] == queries
        for what in ("scored", "compared"):
            assert meter.counts[what] - before[what] == 3 * queries  # pairs of three responses


# ---- the sampled forms


def test_the_sampled_gradient_is_that_of_the_regularised_game() -> None:
    """By enumeration of both players: E[∇log π(y)·A] = ∇[P(π ≻ m) − τ·KL(π‖μ)], m held fixed."""
    tau, z = 0.3, torch.tensor([0.2, -0.4, 0.9]).double()
    m = geometric_mixture(z.softmax(-1), MU, weight=0.125)
    z.requires_grad_(True)
    logp = z.log_softmax(-1)
    A = (RPS - 0.5 - tau * (logp.detach() - MU.log())[:, None]) @ m
    (mine,) = torch.autograd.grad((logp.exp().detach() * A * logp).sum(), z, retain_graph=True)
    value = logp.exp() @ RPS @ m - tau * (logp.exp() * (logp - MU.log())).sum()
    (want,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(mine, want)


def captured(recipe: Any, game: Task, monkeypatch: pytest.MonkeyPatch, **constants: Any) -> Any:
    """The completions and advantages that the first update of a recipe was given."""
    found: dict[str, Tensor | Samples] = {}

    def spy(logp: Tensor, advantage: Tensor) -> Tensor:
        found["A"] = advantage
        return -advantage * logp

    # what `policy_gradient` of the online loop calls is its own module's name
    monkeypatch.setattr(sys.modules[recipe.__module__], "reinforce", spy, raising=False)
    monkeypatch.setattr(sys.modules["assay.loops.online"], "reinforce", spy)
    loop = Loop(max_steps=1, batch_size=4, num_generations=6)
    list(recipe(game, loop=loop, **constants))
    return found["A"]


@pytest.mark.parametrize(
    ("recipe", "constants"),
    [
        (nash_md.recipe, {"mixture": 0.25}),
        (nash_mp.recipe, {"target_rate": 1.0}),
    ],
)
def test_every_token_has_the_log_ratio_of_the_whole_completion(
    recipe: Any, constants: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A term for each token times the same token's gradient would be another number."""
    game, tau = task(length=3), 0.5
    tilted = table(MU.flip(0), length=3)
    monkeypatch.setattr(TablePolicy, "copy", _tilted(tilted))
    A = captured(recipe, game, monkeypatch, tau=tau, **constants)
    x = tilted.sample(game.batch(Loop(batch_size=4), 0), 6, game.rng("sample", 0))
    monkeypatch.undo()
    rival = between(tilted, game.reference, weight=constants.get("mixture", 0.0))
    if recipe is nash_mp.recipe:
        rival = tilted
    others = rival.sample(x.prompts, 6, game.rng("opponent", 0))
    won = game.preference(x, others).mean(-1)
    ratio = x.logp - game.reference.logp(x)
    whole = won - tau * ratio.sum(-1)
    order = game.rng("minibatch", 0)("minibatch", 0).permutation(4)
    torch.testing.assert_close(A, whole[order][..., None])
    each = won[..., None] - tau * ratio
    assert float((A - each[order]).abs().max()) > 0.1


def _tilted(policy: TablePolicy) -> Callable[[TablePolicy], TablePolicy]:
    def copy(self: TablePolicy) -> TablePolicy:
        return TablePolicy(policy.logits, length=policy.length, words=policy.words)

    return copy


def test_the_sampled_forms_go_to_the_nash_policy_and_plain_self_play_does_not() -> None:
    """Rock-paper-scissors with τ = .3, 8 completions of 8 prompts a step."""
    w = world(testbed="game", tau=0.3, seed=3)
    loop = Loop(max_steps=80, batch_size=8, num_generations=8, learning_rate=0.05)

    def end(recipe: Any, **constants: Any) -> float:
        *_, last = recipe(w.task.replaced(carry=None), tau=0.3, loop=loop, **constants)
        assert w.facts is not None
        return w.facts(last.policy)["nash_kl"]

    start = w.facts(w.task.reference)["nash_kl"] if w.facts else math.nan
    assert end(nash_md.recipe) < start / 4
    assert end(nash_mp.recipe) < start / 4
    assert end(nash_md.recipe, regularised=False) > start


# ---- the mixture, token by token


def test_the_mixture_of_tables_is_exact_and_its_own_logp() -> None:
    pi, mu = table(MU.flip(0), length=4), table(length=4)
    mixed = GeometricMixture(pi, mu, weight=0.3)
    x = mixed.sample(mu.prompts(torch.arange(64)), 64, Rng(0)("draw"))
    want = geometric_mixture(MU.flip(0), MU, weight=0.3)
    share = shares(x, 3).mean((0, 1))
    torch.testing.assert_close(share, want, rtol=0, atol=0.015)
    torch.testing.assert_close(x.logp, want.log()[x.action])
    assert bool(x.ended.all()) and bool(x.mask.all())
    again = mixed.sample(mu.prompts(torch.arange(64)), 64, Rng(0)("draw"))
    assert torch.equal(x.action, again.action)


def test_a_mixture_without_one_of_the_two_is_the_other() -> None:
    pi, mu = table(), table(MU.flip(0))
    assert between(pi, mu, weight=0.0) is pi and between(pi, mu, weight=1.0) is mu
    with pytest.raises(InputError, match="--mixture is 2"):
        between(pi, mu, weight=2)
    mixed = GeometricMixture(pi, table(torch.ones(5).double() / 5), weight=0.5)
    with pytest.raises(InputError, match="one vocabulary"):
        mixed.sample(pi.prompts(torch.arange(2)), 2, Rng(0))


def test_bad_constants_are_named() -> None:
    loop = Loop(max_steps=1)
    for recipe, constants, said in (
        (nash_md.recipe, {"tau": 0.0, "exact": True}, "--tau is 0.0"),
        (nash_md.recipe, {"tau": 0.5, "eta": 3.0, "exact": True}, "eta from 0 to 1/tau"),
        (nash_mp.recipe, {"inner": 0}, "--inner is 0"),
        (nash_mp.recipe, {"eta": 0.0, "exact": True}, "--eta is 0.0"),
    ):
        with pytest.raises(InputError, match=said):
            list(recipe(task(), loop=loop, **constants))
    with pytest.raises(InputError, match="table of one decision"):
        list(nash_md.recipe(task(length=2), exact=True, loop=loop))
