"""VAS: what its targets are fixed points of, where its tilt is optimal, and what it may ask."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from small import small_world
from torch import Tensor, nn

from assay.core import Loop, Rng, Samples
from assay.errors import InputError
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.formulas.advantage import gae
from assay.formulas.games import log_geometric_mixture
from assay.formulas.value_decoding import lambda_returns, value_tilted
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.models.policies.table import TablePolicy
from assay.models.policies.value_head import ValueHead
from assay.models.samplers import value_ahead
from assay.models.samplers.geometric_mixture import GeometricMixture
from assay.models.samplers.value_augmented import ValueAugmented
from assay.models.vocabulary import Vocabulary
from assay.recipes import value_augmented_sampling as vas

F = torch.float64


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=F, generator=torch.Generator().manual_seed(seed))


def test_the_targets_are_gaes_with_the_score_after_the_end() -> None:
    mask = torch.tensor([[[1, 1, 0, 1, 0], [0, 1, 1, 1, 1]]], dtype=torch.bool)
    score, values = numbers(1, 2), numbers(1, 2, 6, seed=1)
    paid = torch.zeros(1, 2, 5, dtype=F)
    paid[0, 0, 3], paid[0, 1, 4] = score[0, 0], score[0, 1]
    for lam in (0.0, 0.6, 1.0):
        found = lambda_returns(score, mask, values, lam=lam)
        theirs = gae(paid, values, mask, gamma=1.0, lam=lam) + values[..., :-1]
        torch.testing.assert_close(found[..., :-1][mask], theirs[mask])
        assert torch.equal(found[..., -1], score), "after the end it is the score"
        assert float(found[0, 0, 2]) == float(found[0, 0, 3]), "given tokens take no time"
    assert bool((lambda_returns(score, mask, values, lam=1.0) == score[..., None]).all())


def test_the_mean_score_of_what_follows_is_the_fixed_point_for_every_lambda() -> None:
    """A tree of three binary decisions, weighed exactly: the mean target is the value itself."""
    p, every = 0.3, list(itertools.product((0, 1), repeat=3))
    score = dict(zip(every, numbers(8).tolist(), strict=True))

    def chance(path: tuple[int, ...]) -> float:
        return float(torch.tensor([p if a else 1 - p for a in path]).prod())

    def value(prefix: tuple[int, ...]) -> float:
        ends = [e for e in every if e[: len(prefix)] == prefix]
        return sum(chance(e[len(prefix) :]) * score[e] for e in ends)

    values = torch.tensor([[value(e[:t]) for t in range(4)] for e in every], dtype=F)[None]
    mask = torch.ones(1, 8, 3, dtype=torch.bool)
    for lam in (0.0, 0.5, 0.95):
        paid = torch.tensor([[score[e] for e in every]], dtype=F)
        out = lambda_returns(paid, mask, values, lam=lam)
        for t in range(4):
            for prefix in itertools.product((0, 1), repeat=t):
                at = [i for i, e in enumerate(every) if e[:t] == prefix]
                mean = sum(chance(every[i][t:]) * float(out[0, i, t]) for i in at)
                assert mean == pytest.approx(value(prefix), abs=1e-6)


def test_the_tilt_ignores_constants_and_leaves_what_it_does_not_value_at_the_mean() -> None:
    logp, values = numbers(5).log_softmax(-1), numbers(5, seed=2)
    whole = value_tilted(logp, values, torch.arange(5), strength=1.5)
    torch.testing.assert_close(whole, (logp + 1.5 * values).log_softmax(-1))
    some, of = torch.tensor([3, 0]), values[[3, 0]]
    kept = value_tilted(logp, of, some, strength=1.5)
    torch.testing.assert_close(kept, value_tilted(logp, of + 9, some, strength=1.5))
    filled = torch.full((5,), float(of.mean()), dtype=F).scatter(0, some, of)
    torch.testing.assert_close(kept, (logp + 1.5 * filled).log_softmax(-1))
    cut = value_tilted(logp, of, some, strength=1.5, cut=True)
    assert cut.isneginf().tolist() == [False, True, True, False, True]
    torch.testing.assert_close(cut[some], (logp[some] + 1.5 * of).log_softmax(-1))
    torch.testing.assert_close(value_tilted(logp, of, some, strength=0.0), logp)


def test_the_tilt_is_optimal_where_scores_add_up_and_short_of_it_where_they_do_not() -> None:
    """Two decisions, exactly: against the policy of most reward at strength·E r − KL."""
    p, s = numbers(3).softmax(-1), 2.0
    joint = p[:, None] * p[None]

    def objective(pi: Tensor, r: Tensor) -> float:
        return float((pi * (s * r - (pi / joint).log())).sum())

    def decoded(r: Tensor) -> Tensor:
        first = value_tilted(p.log(), r @ p, torch.arange(3), strength=s).exp()
        rows = torch.arange(3).expand(3, 3)
        then = value_tilted(p.log().expand(3, 3), r, rows, strength=s).exp()
        return first[:, None] * then

    a = numbers(3, seed=3)
    chance = torch.tensor([[0.4, 0.4, 0.4], [2.0, -1.0, -1.0], [0.0, 0.0, 0.0]], dtype=F)
    for r, gap in ((a[:, None] + a[None], False), (chance, True)):
        best = float((joint * (s * r).exp()).sum().log())  # log E₀ e^{s·r}
        short = best - objective(decoded(r), r)
        assert short == pytest.approx(0, abs=1e-12) or gap
        assert short > 0.05 or not gap


VOCABULARY = Vocabulary(["a", "b", "c"])


def model(seed: int, tokens: int = 6) -> Causal:
    config = Config(len(VOCABULARY), 8, 2, heads=2, kv_heads=1, inner=16)
    policy = Causal(Llama(config, Rng(seed)), VOCABULARY, max_tokens=tokens).double()
    return policy.requires_grad_(False)


def sampler(policy: Any, other: Any, **given: Any) -> ValueAugmented:
    head = ValueHead(other.backbone, 2, Rng(5)).double().requires_grad_(False)
    return ValueAugmented(policy, head, **{"strength": 0.5, "weights": (1.0, -0.5), **given})


def test_a_cache_of_keys_says_what_reading_again_does(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, other = model(1), model(2)
    prompts = VOCABULARY.prompts(["a", "b c a"])
    for given in ({}, {"top_k": 2}, {"top_k": 2, "cut": True}):
        mine = sampler(policy, other, **given)
        x, kl = mine.sample_and_kl(policy, prompts, 24, Rng(0))
        assert given or 0 < int(x.ended.sum()) < x.ended.numel()
        torch.testing.assert_close(mine.kl(policy, x), kl)
        with monkeypatch.context() as m:
            m.setattr(value_ahead, "Cache", int)  # no backbone has one of these
            again, same = mine.sample_and_kl(policy, prompts, 24, Rng(0))
        assert torch.equal(x.action, again.action)
        torch.testing.assert_close(x.logp, again.logp)
        torch.testing.assert_close(kl, same)


def test_it_samples_what_it_says_and_composes_without_training() -> None:
    policy, other = model(1, tokens=2), model(2, tokens=2)
    prompts = VOCABULARY.prompts(["a"])
    mine = sampler(policy, other)
    x, kl = mine.sample_and_kl(policy, prompts, 4000, Rng(0))
    ratio = (x.logp - policy.logp(x)).sum(-1)  # its mean is the KL, too
    error = float(ratio.std()) / 4000**0.5
    assert float(kl.mean()) > 5 * error
    assert float(kl.mean()) == pytest.approx(float(ratio.mean()), abs=4 * error)
    seen: dict[tuple[int, ...], list[float]] = {}
    for tokens, here, logp in zip(x.action[0], x.mask[0], x.logp[0], strict=True):
        seen.setdefault(tuple(tokens[here].tolist()), []).append(float(logp.sum().exp()))
    for p in seen.values():
        assert len(p) / 4000 == pytest.approx(p[0], abs=4 * (p[0] / 4000) ** 0.5)
    mine.strength = 0.0
    plain, none = mine.sample_and_kl(policy, prompts, 8, Rng(0))
    assert torch.equal(plain.action, policy.sample(prompts, 8, Rng(0)).action)
    assert float(none.abs().max()) == 0
    one = sampler(policy, other, weights=(1.0, 0.0)).sample(prompts, 8, Rng(3))
    mine.strength, mine.weights = 0.5, (1.0, 0.0)
    assert torch.equal(mine.sample(prompts, 8, Rng(3)).logp, one.logp)
    with pytest.raises(InputError, match="1 weights and 2 values"):
        sampler(policy, other, weights=(1.0,)).sample(prompts, 1, Rng(0))


def test_the_mixture_of_two_language_models_writes_its_last_token_too() -> None:
    """Decoding's own account of what is open changes as it goes on; here each token is the last."""
    one, two = model(1, tokens=1), model(2, tokens=1)
    prompts = VOCABULARY.prompts(["a"])
    x = GeometricMixture(one, two, weight=0.5).sample(prompts, 16, Rng(0))
    both = [p.decoding(prompts, 1, Rng(0)).next_logprobs()[0, 0] for p in (one, two)]
    mixed = log_geometric_mixture(*both, weight=0.5)
    torch.testing.assert_close(x.logp[0, :, 0], mixed[x.action[0, :, 0]])


class NextTokens:
    """All that a black box tells: next tokens' log-probabilities, of a policy that it hides."""

    def __init__(self, policy: Causal):
        self._policy = policy

    def decoding(self, *given: Any) -> Any:
        return self._policy.decoding(*given)


def test_a_policy_of_which_nothing_else_is_known_is_steered() -> None:
    policy, other = model(1), model(2)
    prompts = VOCABULARY.prompts(["a"])
    seen = sampler(policy, other).sample(prompts, 8, Rng(0))
    assert torch.equal(
        sampler(NextTokens(policy), other).sample(prompts, 8, Rng(0)).action, seen.action
    )
    with pytest.raises(InputError, match="decodes token by token"):
        sampler(nn.Linear(1, 1), other)


LOOP = Loop(max_steps=150, batch_size=8, num_generations=64, learning_rate=0.05, epochs=2)


def run(loop: Loop = LOOP, **given: Any) -> list[dict[str, Any]]:
    config = MeasureConfig(eval_steps=1000, eval_generations=256)
    return list(measure(vas.recipe, small_world(vas), loop=loop, arguments=given, config=config))


@pytest.mark.full
def test_values_of_one_decision_approach_the_scores_and_shuffled_ones_do_not() -> None:
    """On the bandit a value after the decision is the score: the tilt becomes the Gibbs policy."""
    world = small_world(vas)
    policy: Any = world.task.reference
    assert isinstance(policy, TablePolicy) and policy.length == 1
    given = {"strengths": (0.0, 1.0), "top_k": 0}
    end, wrong = (run(**given, shuffled=shuffled) for shuffled in (False, True))
    by = {r["tag"]: r for r in end if r["step"] == 150 and r["tag"] != "best"}
    assert by["strength=0"]["kl"] == 0
    scores = every_score(world)
    tables = policy.tilted(scores, beta=1.0), policy
    exact, start = (
        float((table.logits.detach().softmax(-1) * scores).sum(-1)[world.held_out.row].mean())
        for table in tables
    )
    gained = by["strength=1"]["proxy"] - by["strength=0"]["proxy"]
    assert gained == pytest.approx(exact - start, rel=0.2)
    other = {r["tag"]: r for r in wrong if r["step"] == 150}["strength=1"]
    assert other["proxy"] - by["strength=0"]["proxy"] < 0.3 * gained


def every_score(world: Any) -> Tensor:
    """The proxy of every response `[R,V]`."""
    policy = world.task.reference
    R, V = policy.logits.shape
    names = [list(policy.words.tokens)] * R
    x: Samples = policy.encode(list(policy.words.contexts), names)
    found: Tensor = world.task.rewards.only([0])(replace(x, logp=torch.zeros_like(x.logp)))[0]
    return found.view(R, V)


def test_faults_are_told() -> None:
    for given, said in (
        ({"strengths": (-1.0,)}, "--strengths is"),
        ({"lam": 2.0}, "--lam 2.0"),
        ({"weights": (1.0, 1.0)}, "for 1 rewards"),
    ):
        with pytest.raises(InputError, match=said):
            run(Loop(max_steps=1), **given)
