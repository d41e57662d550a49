"""The table world: gold and proxies are exact, labels are as noisy as asked, the baseline turns,
and data cures what data can.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from assay.core import Prompts, Rng, Samples, World
from assay.engine.descend import descend
from assay.errors import InputError
from assay.formulas.advantage import leave_one_out
from assay.formulas.reduce import per_completion
from assay.formulas.surrogate import reinforce
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearReward
from assay.worlds.table import world

BOTH = pytest.mark.parametrize("mode", ["shared", "idiosyncratic"])
BEDS = pytest.mark.parametrize("testbed", ["bag", "bandit"])


def single(scores: Tensor) -> Tensor:
    return scores[0]


def mean(scores: Tensor) -> Tensor:
    return scores.mean(0)


def baseline(w: World, score: Callable[[Tensor], Tensor] = single) -> list[dict[str, float]]:
    """Leave-one-out policy gradient without a KL term, with the world's own constants: exact facts
    after every step.
    """
    assert w.loop is not None and w.facts is not None
    policy = w.task.reference.copy()
    opt, out = w.loop.optimiser(policy), [w.facts(policy)]
    for t in range(w.loop.max_steps):
        x = policy.sample(w.task.batch(w.loop, t), w.loop.num_generations, w.task.rng("sample", t))
        A = leave_one_out(score(w.task.rewards(x)), x.present)
        descend(
            opt,
            lambda rows, i, A=A: reinforce(policy.logp(rows), A[i][..., None]),
            x,
            reduce=per_completion,
        )
        out.append(w.facts(policy))
    return out


def path(w: World, score: Callable[[Tensor], Tensor]) -> list[float]:
    """Exact gold along the Gibbs policies of a judge (or a mean of judges), from no tilt to a hard
    one.
    """
    reference, judges = w.task.reference, w.task.rewards.reward
    assert (
        isinstance(reference, TablePolicy)
        and isinstance(judges, LinearReward)
        and w.facts is not None
    )
    per_token = score(judges.per_decision())
    return [
        w.facts(reference.tilted(per_token, beta=float(1 / tilt)))["gold"]
        for tilt in torch.logspace(-1, 2, 31)
    ]


def fall(gold: list[float]) -> float:
    return max(gold) - gold[-1]


@pytest.mark.parametrize(("mode", "length"), [("shared", 3), ("idiosyncratic", 5)])
def test_expected_gold_of_a_bag_is_the_sum_over_all_bags(mode: str, length: int) -> None:
    """13³ and 13⁵ answers, a policy unlike the reference, and the bend in play: one rare token
    twice, five rare ones.
    """
    w = world(mode=mode, vocabulary=13, length=length, pairs=20)
    assert isinstance(w.task.reference, TablePolicy) and w.gold is not None and w.facts is not None
    tilt = Rng(0).normal(torch.arange(13))
    policy = TablePolicy(
        w.task.reference.logits + tilt + 2 * (torch.arange(13) == 12), length=length
    )
    every = torch.tensor(list(itertools.product(range(13), repeat=length)))[None]
    mask = torch.ones_like(every, dtype=torch.bool)
    x = Samples(
        policy.prompts(torch.zeros(1, dtype=torch.int64)),
        every,
        mask,
        ~mask,
        torch.zeros(every.shape),
        mask.any(-1),
    )
    for pi in (policy, w.task.reference):
        p = pi.logp(x).double().sum(-1).exp().detach()
        facts = w.facts(pi)
        assert float((p * w.gold(x)[0]).sum()) == pytest.approx(facts["gold"], abs=1e-4)
        assert float((p * w.task.rewards(x)[3]).sum()) == pytest.approx(facts["judge3"], abs=1e-4)
    for score in (
        w.gold(x)[0],
        *w.task.rewards(x),
    ):  # everything is standardised under the reference, the last pi
        assert float((p * score).sum()) == pytest.approx(0, abs=1e-4)
        assert float((p * score**2).sum()) == pytest.approx(1, abs=1e-3)


@BOTH
@BEDS
def test_facts_are_what_answers_average_to(testbed: str, mode: str) -> None:
    w = world(testbed=testbed, mode=mode, pairs=60, prompts=8)
    assert isinstance(w.task.reference, TablePolicy) and w.gold is not None and w.facts is not None
    policy = w.task.reference.tilted(w.task.rewards.reward.per_decision()[0], beta=2.0)  # type: ignore[attr-defined]
    x = policy.sample(w.held_out, 400, Rng(0)("sample"))
    facts = w.facts(policy)
    ratio = (x.logp - w.task.reference.logp(x)).sum(-1)
    for got, name in ((w.gold(x)[0], "gold"), (w.task.rewards(x)[1], "judge1"), (ratio, "kl")):
        assert float(got.mean()) == pytest.approx(
            facts[name], abs=4.5 * float(got.std()) / math.sqrt(got.numel())
        )
    torch.testing.assert_close(policy.kl(w.task.reference, x).mean(), torch.tensor(facts["kl"]))


def test_facts_are_of_tables_only() -> None:
    class Foreign:
        def sample(
            self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
        ) -> Samples:
            raise AssertionError

    w = world(pairs=20)
    assert w.facts is not None and w.facts(Foreign()) == {}


@BEDS
def test_a_world_is_a_function_of_its_arguments(testbed: str) -> None:
    def print_of(**arguments: Any) -> list[Tensor]:
        w = world(testbed=testbed, pairs=40, **arguments)
        x = w.task.reference.sample(w.held_out, 2, Rng(0))
        assert w.gold is not None
        return [w.task.pairs.action, w.task.rewards(x), w.gold(x), w.task.demos.action]

    before = torch.get_rng_state()
    first = print_of(seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert all(map(torch.equal, first, print_of(seed=3)))
    assert not any(map(torch.equal, first, print_of(seed=4)))


@BEDS
@pytest.mark.parametrize("bootstrap", [True, False])
def test_proxies_of_all_pairs_are_one(testbed: str, bootstrap: bool) -> None:
    """So the members of an ensemble are bootstraps here."""
    w = world(testbed=testbed, bootstrap=bootstrap)
    scores = w.task.rewards(w.task.reference.sample(w.task.prompts, 4, Rng(0)))
    assert torch.allclose(scores[:1].expand_as(scores), scores, atol=1e-6) != bootstrap


@BEDS
def test_noise_is_the_share_of_labels_that_are_flipped(testbed: str) -> None:
    def pairs(noise: float) -> Tensor:
        return world(testbed=testbed, pairs=2000, noise=noise).task.pairs.action

    clean, noisy, wrong = pairs(0.0), pairs(0.25), pairs(1.0)
    assert torch.equal(wrong, clean.flip(1))
    flipped = (noisy == wrong).all(-1).all(-1)
    assert torch.equal(noisy[~flipped], clean[~flipped])
    assert abs(float(flipped.float().mean()) - 0.25) < 4.5 * math.sqrt(0.1875 / 2000)
    assert not (clean[:, 0] == clean[:, 1]).all(-1).any()  # no pair is an answer against itself


def test_clean_labels_follow_bradley_terry_on_gold() -> None:
    w = world(pairs=4000, noise=0.0)
    assert w.gold is not None
    score = w.gold(w.task.pairs)[0]
    gap = (score[:, 0] - score[:, 1]).abs()
    right = (score[:, 0] > score[:, 1])[gap > 0].float().mean()
    want = torch.sigmoid(gap)[gap > 0]
    assert abs(float(right - want.mean())) < 4.5 * 0.5 / math.sqrt(len(want))


def test_demonstrations_are_better_than_chance_and_readable() -> None:
    w = world(pairs=20)
    assert w.gold is not None
    assert float(w.gold(w.task.demos).mean()) == pytest.approx(
        1.03, abs=0.3
    )  # the best of four standard normals: 1.03
    assert w.task.demos.mask.shape == (200, 1, 12)
    words = w.task.demos.text()[0][0].split()
    assert len(words) == 12 and all(word[:-2] in ("common", "rare") for word in words)


@pytest.mark.parametrize(
    ("testbed", "mode", "least"),
    [
        ("bag", "shared", 0.5),
        ("bag", "idiosyncratic", 10.0),
        ("bandit", "shared", 0.5),
        ("bandit", "idiosyncratic", 0.5),
    ],
)
def test_the_baseline_turns(testbed: str, mode: str, least: float) -> None:
    """The proxy rises all the way; gold rises, peaks inside the run and falls: every seed, and by
    `least` on average.
    """
    falls = []
    for seed in range(3):
        facts = baseline(world(seed=seed, testbed=testbed, mode=mode))
        gold, proxy = [f["gold"] for f in facts], [f["judge0"] for f in facts]
        falls.append(fall(gold))
        assert max(gold) > 0.3 and falls[-1] > 0.1 and 0 < gold.index(max(gold)) < 90
        assert all(later > earlier - 0.05 for earlier, later in itertools.pairwise(proxy[::5]))
    assert sum(falls) / 3 > least


def test_noisy_judges_gain_from_each_other_in_both_modes() -> None:
    for mode in ("shared", "idiosyncratic"):
        worlds = [world(seed=s, mode=mode) for s in range(6)]
        gain = [max(path(w, mean)) - max(path(w, single)) for w in worlds]
        assert sum(gain) / 6 > 0.1, mode
        assert min(fall(path(w, mean)) for w in worlds) > 0.5  # and none of them is saved


def test_clean_data_cures_disagreement_and_not_a_shared_error() -> None:
    """8 000 clean pairs: where members disagreed nothing turns; where all err alike, one and five
    fall from the same peak.
    """
    for seed in range(2):
        cured = world(seed=seed, mode="idiosyncratic", pairs=8000, noise=0.0)
        assert fall(path(cured, single)) < 0.05 and path(cured, single)[-1] > 5
        alike = world(seed=seed, mode="shared", pairs=8000, noise=0.0)
        one, five = path(alike, single), path(alike, mean)
        assert fall(one) > 5 and fall(five) > 5 and abs(max(one) - max(five)) < 0.15 * max(one)


@BEDS
def test_held_out_prompts_are_the_contexts_of_the_task(testbed: str) -> None:
    w = world(testbed=testbed, pairs=20, prompts=5)
    assert len(w.task.prompts) == 5 and set(w.held_out.text()) == set(w.task.prompts.text())
    assert torch.bincount(w.held_out.row).tolist() == [13] * 5, (
        "64 or more, each as often as the others: facts weigh all alike"
    )
    assert len(set(w.task.prompts.text())) == (1 if testbed == "bag" else 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"testbed": "bags"},
        {"mode": "both"},
        {"pairs": 0},
        {"members": 0},
        {"prompts": 0},
        {"length": 0},
        {"demos": 0},
        {"vocabulary": 12},
        {"testbed": "bandit", "responses": 20},
        {"noise": 1.5},
        {"ridge": 0.0},
    ],
)
def test_what_cannot_be_is_refused_by_its_flag(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"--world.{list(wrong)[-1]} is"):
        world(**wrong)


def test_offsets_shift_the_scores_of_a_prompt_and_nothing_else() -> None:
    """A constant of each prompt leaves differences within it alone, and spreads prompts apart."""
    plain, moved = (
        world(testbed="bandit", prompts=64),
        world(testbed="bandit", prompts=64, offset=1),
    )
    x = plain.task.reference.sample(plain.task.prompts, 8, Rng(0)("offsets"))
    by = moved.task.rewards(x) - plain.task.rewards(x)
    assert torch.allclose(by, by[..., :1].expand_as(by), atol=1e-5)
    assert 0.8 < float(by[..., 0].std()) < 1.2
    assert torch.equal(moved.gold(x), plain.gold(x)) and moved.refit is None  # type: ignore[misc]


def test_offsets_need_prompts_of_their_own() -> None:
    with pytest.raises(InputError, match="share one context"):
        world(testbed="bag", offset=1.0)
