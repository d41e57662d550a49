"""World flow: its paths, their log-probabilities and KL, its gold, and proxies with an exploit."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from assay.core import DrawsBySteps, HasValueHead, Policy, Rng, World
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.models.policies.flow import NOISE, FlowPolicy, data_of
from assay.recipes import best_of_n, flow_grpo
from assay.worlds.flow import FlowConfig
from assay.worlds.flow import world as build
from assay.worlds.ring import RADIUS, STD, centres, log_weights

SAMPLERS = ({}, {"sampler": "ddim", "steps": 12})


@pytest.fixture(params=SAMPLERS, ids=["flow", "ddim"])
def world(request: pytest.FixtureRequest) -> World:
    built = build(width=16, **request.param)
    built.task.reference.double()  # type: ignore[attr-defined]
    return built


def moved(policy: FlowPolicy) -> FlowPolicy:
    """A copy whose network is not 0."""
    other = policy.copy()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.05 * Rng(3)("move").normal(torch.arange(p.numel())).reshape(p.shape))
    return other


def test_it_has_what_recipes_ask_for(world: World) -> None:
    policy = world.task.reference
    assert isinstance(policy, Policy) and isinstance(policy, DrawsBySteps)
    assert isinstance(policy, HasValueHead)
    assert not any(p.requires_grad for p in policy.parameters())
    assert all(p.requires_grad for p in policy.copy().parameters())


def test_what_was_drawn_has_the_log_probability_that_it_is_scored_by(world: World) -> None:
    policy = moved(world.task.reference)
    x = policy.sample(world.task.prompts, 16, Rng(0)("x"))
    assert torch.allclose(policy.logp(x), x.logp, atol=1e-12)
    assert bool((x.logp != world.task.reference.logp(x)).any())


def test_places_have_their_numbers_whatever_else_is_drawn(world: World) -> None:
    policy, prompts, rng = moved(world.task.reference), world.task.prompts, Rng(0)("x")
    whole = policy.sample(prompts, 5, rng)
    rows = torch.tensor([2, 0])
    part = policy.sample(prompts[rows], torch.tensor([3, 1]), rng[rows])
    assert torch.allclose(part.action[0, :3], whole.action[2, :3], atol=1e-12)
    assert torch.allclose(part.action[1, :1], whole.action[0, :1], atol=1e-12)
    assert part.present.tolist() == [[True] * 3, [True, False, False]]
    assert bool((part.action[1, 1:] == 0).all()) and bool((part.logp[1, 1:] == 0).all())


def test_paths_go_on_where_they_are(world: World) -> None:
    policy, rng = moved(world.task.reference), Rng(0)("x")
    whole = policy.sample(world.task.prompts, 4, rng)
    begun = replace(
        whole,
        action=whole.action[:, :, :3],
        mask=whole.mask[:, :, :3],
        given=whole.given[:, :, :3],
        logp=whole.logp[:, :, :3],
    )
    again = policy.sample(world.task.prompts, 4, rng, begun)
    assert torch.allclose(again.action, whole.action) and torch.allclose(again.logp, whole.logp)
    other = policy.sample(world.task.prompts, 4, Rng(1)("y"), begun)
    assert torch.equal(other.action[:, :, :3], whole.action[:, :, :3])
    assert bool((data_of(other) != data_of(whole)).any())
    with pytest.raises(InputError, match="paths to continue have shape"):
        policy.sample(world.task.prompts, 3, rng, begun)


def test_the_kl_of_paths_is_the_mean_log_ratio_and_no_less_than_that_of_the_data(
    world: World,
) -> None:
    reference = world.task.reference
    policy, n = moved(reference), 6000
    x = policy.sample(world.task.prompts[:1], n, Rng(0)("x"))
    kl = float(policy.kl(reference, x).mean())
    ratio = (x.logp - reference.logp(x)).sum(-1)
    assert kl == pytest.approx(float(ratio.mean()), abs=4 * float(ratio.std()) / n**0.5)
    assert float(reference.kl(reference, x).abs().max()) == 0
    # the KL of two normals with the data's means and deviation is below the data's own, nearly
    theirs = data_of(reference.sample(world.task.prompts[:1], n, Rng(1)("x")))[0]
    apart = torch.distributions.MultivariateNormal(data_of(x)[0].mean(0), data_of(x)[0].T.cov())
    plain = torch.distributions.MultivariateNormal(theirs.mean(0), theirs.T.cov())
    assert kl > float(torch.distributions.kl_divergence(apart, plain)) > 0


def test_one_pass_serves_a_loss_and_another_loss_has_its_own(world: World) -> None:
    """Also where a step was skipped and the weights are the same: its graph is used up."""
    reference, policy = world.task.reference, moved(world.task.reference)
    x, calls = policy.sample(world.task.prompts, 3, Rng(0)("x")), []
    policy.velocity.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        calls.clear()
        logp = policy.logp(x)
        mean, kl = policy.gaussian_steps(x).mean, policy.step_kl(reference, x)
        assert len(calls) == 1
        (logp.sum() + mean.sum() + kl.sum()).backward()
        held = copy.deepcopy(policy).gaussian_steps(x).mean
        assert torch.equal(held, mean) and len(calls) == 2, "a copy is another policy"
    with torch.no_grad():
        next(policy.parameters()).add_(0.1)
    assert bool((policy.gaussian_steps(x).mean != mean).any()), "other weights, another pass"
    before = len(calls)
    del logp
    policy.gaussian_steps(x)
    assert len(calls) == before + 1


def test_the_reference_draws_the_mixture() -> None:
    policy = build(steps=100).task.reference
    x = data_of(policy.sample(policy.prompts(torch.arange(4)), 1500, Rng(0)("x")))
    apart = torch.cdist(x, centres().expand(4, -1, -1))
    near, which = apart.min(-1)
    share = torch.stack([torch.bincount(w, minlength=8) / 1500 for w in which])
    assert torch.allclose(share, log_weights().exp(), atol=0.04)
    assert float((near.square().mean() / 2).sqrt()) == pytest.approx(STD, abs=0.02)


def test_gold_is_standardised_and_proxies_are_gold_and_a_bump(world: World) -> None:
    reference, proxies = world.task.reference, world.task.rewards.reward
    x = reference.sample(world.task.prompts, 2000, Rng(0)("x"))
    gold = world.gold(x)[0]
    assert float(gold.mean()) == pytest.approx(0, abs=0.1)
    assert float(gold.std()) == pytest.approx(1, abs=0.1)
    every = torch.arange(4)
    q = proxies.places[0].double()
    bump = proxies.at(q, every)[0] - world.gold.at(q, every)
    assert torch.allclose(bump, torch.full_like(bump, 5.0))
    assert float((q.norm(dim=-1) - RADIUS).min()) > 1, "the bump lies where no data are"
    assert float(world.gold.at(q, every).max()) < float(gold.mean())


def test_members_err_alike_or_each_by_itself() -> None:
    shared = build().task.rewards.reward.places
    own = build(mode="idiosyncratic").task.rewards.reward.places
    assert torch.equal(shared[0], shared[1])
    assert float((own[0] - own[1]).norm(dim=-1).min()) > 0.1


def test_best_of_n_and_a_value_head_work_on_paths(world: World) -> None:
    lines = list(
        measure(
            best_of_n.recipe,
            world,
            arguments={"most": 4},
            loop=world.loop,
            config=MeasureConfig(eval_steps=1, eval_generations=8),
        )
    )
    assert lines[-1]["gold"] > lines[0]["gold"] and lines[0]["kl"] == 0
    x = world.task.reference.sample(world.task.prompts, 3, Rng(0)("x"))
    values = world.task.reference.value_head(2, Rng(1))(x)
    assert values.shape == (4, 3, x.mask.shape[2] + 1, 2)
    assert x.extra[NOISE].shape == (4, 3, 2) and x.text()[0][0].startswith("(")


@pytest.mark.slow
def test_the_baseline_turns_and_a_sound_proxy_does_not() -> None:
    def golds(height: float) -> list[float]:
        world = build(height=height)
        lines = measure(
            flow_grpo.recipe,
            world,
            arguments={"beta": 0.0},
            loop=replace(world.loop, max_steps=45, epochs=2),
            config=MeasureConfig(eval_steps=15, eval_generations=8),
        )
        return [r["gold"] for r in lines if r["tag"] != "best"]

    hacked, sound = golds(5.0), golds(0.0)
    assert max(hacked) > 1 and hacked[-1] < -0.3
    assert sound[-1] > 1.2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 1}, "--world.steps is 1"),
        ({"logp": "none"}, "--world.logp is 'none'"),
        ({"eta": 2.0}, "--world.eta is 2.0"),
        ({"testbed": "square"}, "--world.testbed is 'square'"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FlowConfig(**wrong)
