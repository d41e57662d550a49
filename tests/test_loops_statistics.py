"""What a step says of its training: the numbers mean what TRL's names mean, and change nothing."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from small import small_world
from test_contract import differences, drive, timeless
from torch import Tensor

from assay.core import Rng, Samples
from assay.engine.gauge import gauge, means
from assay.evaluation.progress import Progress
from assay.loops import clipped_surrogate, mean_stats, record_kl, rollout_stats
from assay.models.policies.table import TablePolicy
from assay.recipes import grpo, ppo

REWARD = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]])


def sampled(rows: int = 2, n: int = 3) -> Samples:
    policy = TablePolicy(torch.zeros(7, 3), length=4)
    return policy.sample(policy.prompts(torch.arange(rows)), n, Rng(0)("sample"))


def ragged() -> Samples:
    """Six completions of 4, 2, 1, 3, 4 and 4 decisions; the first and the last were truncated."""
    x = sampled()
    mask = torch.arange(4) < torch.tensor([[4, 2, 1], [3, 4, 4]])[..., None]
    ended = torch.tensor([[False, True, True], [True, True, False]])
    return replace(x, mask=mask, given=torch.zeros_like(mask), ended=ended)


def test_rewards_by_hand() -> None:
    said = rollout_stats([(ragged(), REWARD)])
    assert said["reward"] == pytest.approx(21 / 6)
    assert said["reward_std"] == pytest.approx(float(REWARD.std()))
    assert said["reward_std_within"] == pytest.approx(0.5), "a deviation of 1 and one of 0"
    assert said["reward_std_between"] == pytest.approx(float(torch.tensor([2.0, 5.0]).std()))
    assert said["frac_reward_zero_std"] == 0.5


def test_deviations_within_and_between_make_the_whole() -> None:
    r = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r = (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True) * 0.3 + torch.arange(7.0)[:, None]
    said = rollout_stats([(sampled(7, 5), r)])
    squares = 7 * 4 * said["reward_std_within"] ** 2 + 5 * 6 * said["reward_std_between"] ** 2
    assert said["reward_std"] ** 2 * 34 == pytest.approx(squares)


def test_completions_by_hand() -> None:
    x = ragged()
    said = rollout_stats([(x, None)])
    assert said == {
        "completions/mean_length": 3.0,
        "completions/min_length": 1.0,
        "completions/max_length": 4.0,
        "completions/clipped_ratio": pytest.approx(2 / 6),
        "completions/mean_terminated_length": 2.5,
        "entropy": pytest.approx(-float(x.logp[x.mask].mean())),
    }


def test_minus_log_pi_of_samples_estimates_the_entropy() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    policy = TablePolicy(logits)
    x = policy.sample(policy.prompts(torch.zeros(1, dtype=torch.long)), 20_000, Rng(1)("sample"))
    exact = float(torch.distributions.Categorical(logits=logits[0]).entropy())
    assert rollout_stats([(x, None)])["entropy"] == pytest.approx(exact, abs=0.02)


def test_two_batches_are_the_batch_of_both() -> None:
    x = ragged()
    parts = [(x[i : i + 1], REWARD[i : i + 1]) for i in range(2)]
    assert rollout_stats(parts) == pytest.approx(rollout_stats([(x, REWARD)]))


def test_rewards_of_decisions_are_summed_where_there_is_one() -> None:
    x = ragged()
    each = torch.full((2, 3, 4), 0.5)
    assert rollout_stats([(x, each)])["reward"] == pytest.approx(0.5 * 18 / 6)


def test_what_is_not_known_is_left_out() -> None:
    x = ragged()
    nothing = replace(x, mask=torch.zeros_like(x.mask))
    assert rollout_stats([(nothing, REWARD)]) == {} and rollout_stats([]) == {}
    unknown = rollout_stats([(replace(x, logp=x.logp * math.nan), REWARD * math.nan)])
    assert "entropy" not in unknown and "reward" not in unknown and "reward_std" not in unknown
    part = torch.tensor([[1.0, math.nan, 2.0], [math.nan] * 3])
    said = rollout_stats([(x, part)])
    assert said["reward"] == 1.5 and "reward_std_between" not in said
    assert said["frac_reward_zero_std"] == 0.0
    single = rollout_stats([(x.pick(torch.zeros(2, 1, dtype=torch.long)), REWARD[:, :1])])
    assert single["reward_std"] == pytest.approx(float(torch.tensor([1.0, 5.0]).std()))
    assert "frac_reward_zero_std" not in single and "reward_std_within" not in single
    running = rollout_stats([(replace(x, ended=torch.zeros_like(x.ended)), REWARD)])
    assert running["completions/clipped_ratio"] == 1.0
    assert "completions/mean_terminated_length" not in running


def test_the_clip_ratio_counts_what_has_no_gradient() -> None:
    x = ragged()
    ratio = torch.tensor([0.5, 1.0, 1.1, 2.0]).expand(2, 3, 4)
    advantage = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 0.0]])[..., None]
    logp = (torch.where(x.mask, x.logp, 0.0) + ratio.log()).requires_grad_()
    sums: dict[str, Tensor] = {}
    with gauge.into(sums):
        loss = clipped_surrogate(logp, x, advantage, low=0.2, high=0.2)
    (slope,) = torch.autograd.grad(torch.where(x.mask, loss, 0.0).sum(), logp)
    still = (slope == 0) & x.mask & (advantage != 0)
    said = means(sums)
    assert said["clip_ratio/region_mean"] == pytest.approx(float(still.sum() / x.mask.sum()))
    assert said["clip_ratio/low_mean"] == pytest.approx(2 / 18)
    assert said["clip_ratio/high_mean"] == pytest.approx(2 / 18)


def test_what_the_gauge_is_given_in_pieces_is_the_mean_of_the_whole() -> None:
    x = ragged()
    reference = x.logp - torch.arange(4.0) / 10
    whole: dict[str, Tensor] = {}
    pieces: dict[str, Tensor] = {}
    with gauge.into(whole):
        record_kl(x.logp, reference, x.mask)
    with gauge.into(pieces):
        for i in range(2):
            record_kl(x.logp[i : i + 1], reference[i : i + 1], x.mask[i : i + 1])
    assert means(whole) == pytest.approx(means(pieces)) and means(whole)["kl"] > 0
    record_kl(x.logp, reference + 1, x.mask)
    assert means(whole) == pytest.approx(means(pieces)), "outside of a run nothing is kept"


@pytest.mark.parametrize("module", [grpo, ppo], ids=["grpo", "ppo"])
def test_micro_batches_change_no_statistic(module: Any) -> None:
    world = small_world(module)
    one, eight = (drive(module, world, micro_batch_size=n) for n in (1, 1000))
    assert differences(timeless(one), timeless(eight), 1e-9) == []
    names = {"kl", "clip_ratio/region_mean", "entropy", "reward", "grad_norm", "learning_rate"}
    assert names <= set(one[1]["stats"])


def test_statistics_change_no_number_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    world = small_world(grpo)
    told = drive(grpo, world)

    def nothing(*given: Any) -> dict[str, float]:
        return {}

    monkeypatch.setattr(sys.modules["assay.loops.online"], "rollout_stats", nothing)
    monkeypatch.setattr(type(gauge), "add", nothing)
    silent = drive(grpo, world)
    assert "reward" in told[1]["stats"] and "reward" not in silent[1]["stats"]
    for a, b in zip(told, silent, strict=True):
        kept = a["stats"].keys() & b["stats"].keys()
        assert {k: a["stats"][k] for k in kept} == {k: b["stats"][k] for k in kept}
        assert [a[k] for k in ("gold", "proxy", "kl")] == [b[k] for k in ("gold", "proxy", "kl")]


def test_means_leave_out_what_is_no_number() -> None:
    ok = {"loss": 1.0, "grad_norm": 2.0, "learning_rate": 0.1, "skipped": 0.0}
    lost = {"loss": math.nan, "grad_norm": math.inf, "skipped": 1.0}
    said = mean_stats([ok, lost, {**ok, "loss": 3.0}])
    assert said == {"loss": 2.0, "grad_norm": 2.0, "learning_rate": 0.1, "skipped": 1.0}
    assert mean_stats([lost]) == {"skipped": 1.0} and mean_stats([]) == {}


def test_a_reading_has_the_mean_over_the_steps_that_measured() -> None:
    progress = Progress()
    add: Callable[[dict[str, float]], None] = progress.count
    for stats in ({"a": 1.0, "skipped": 0.0}, {"a": math.nan, "b": 4.0, "skipped": 1.0}, {"a": 2}):
        add(stats)
    assert progress.statistics() == {"a": 1.5, "b": 4.0, "skipped": 1.0}
    assert progress.statistics() == {}
