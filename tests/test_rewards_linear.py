"""Linear Bradley–Terry judges: the fit is the optimum, members know nothing of each other, files go
round.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from assay.core import Reward, Rng
from assay.core.samples import Pairs, Samples
from assay.errors import InputError
from assay.formulas.pairwise import bradley_terry
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import (
    LinearModel,
    LinearReward,
    additive,
    bootstrap,
    maximum_likelihood,
)

POLICY = TablePolicy(torch.zeros(2, 5, dtype=torch.float64), length=4)


def pairs(n: int = 300, seed: int = 0) -> Pairs:
    x = POLICY.sample(POLICY.prompts(torch.arange(n) % 2), 2, Rng(seed)("pairs"))
    return Pairs(
        x.prompts,
        x.action,
        x.mask,
        x.given,
        x.logp,
        x.ended,
        p=torch.ones(n),
        margin=torch.zeros(n),
    )


def labeled(x: Pairs, table: Tensor) -> Pairs:
    """With the probability that Bradley–Terry gives under this table."""
    score = additive(table, x)[0]
    return replace(x, p=torch.sigmoid(score[:, 0] - score[:, 1]))


def centred(table: Tensor) -> Tensor:
    """Answers are of one length, so a constant added to every token changes no preference."""
    return table - table.mean(-1, keepdim=True)


@pytest.mark.parametrize("rows", [1, 2])
def test_soft_labels_give_the_table_back(rows: int) -> None:
    truth = Rng(3).normal(torch.arange(rows)[:, None], torch.arange(5), dtype=torch.float64)[None]
    model = maximum_likelihood(
        LinearModel(1, vocabulary=5, rows=rows, dtype=torch.float64),
        labeled(pairs(), truth),
        ridge=1e-9,
    )
    torch.testing.assert_close(centred(model.table().detach()), centred(truth), rtol=0, atol=1e-4)


def test_features_are_learned_where_they_generate_the_scores() -> None:
    features = Rng(4).normal(
        torch.arange(2)[:, None, None],
        torch.arange(5)[:, None],
        torch.arange(3),
        dtype=torch.float64,
    )
    weight = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    data = labeled(pairs(), (features @ weight)[None])
    model = maximum_likelihood(
        LinearModel(1, vocabulary=5, features=features, dtype=torch.float64), data, ridge=1e-9
    )
    torch.testing.assert_close(model.weight.detach()[0], weight, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.freeze(("a",)).table[0], features @ weight, rtol=0, atol=1e-3)


def test_the_fit_is_where_the_penalised_gradient_vanishes() -> None:
    data, counts = pairs(), bootstrap(300, 3, Rng(1))
    model = maximum_likelihood(
        LinearModel(3, vocabulary=5, dtype=torch.float64), data, counts=counts, ridge=0.05
    )
    score = model(data)
    loss = (
        counts * bradley_terry(score[..., 0], score[..., 1])
    ).sum() + 0.025 * model.weight.square().sum()
    assert float(torch.autograd.grad(loss, model.weight)[0].abs().max()) < 1e-4
    assert float(model.weight.detach().abs().max()) > 0.05


def test_members_are_fitted_as_if_alone() -> None:
    data, counts = pairs(), bootstrap(300, 3, Rng(1))
    together = maximum_likelihood(
        LinearModel(3, vocabulary=5, dtype=torch.float64), data, counts=counts
    )
    for m in range(3):
        alone = maximum_likelihood(
            LinearModel(1, vocabulary=5, dtype=torch.float64), data, counts=counts[m : m + 1]
        )
        torch.testing.assert_close(together.weight[m], alone.weight[0], rtol=0, atol=1e-5)


def test_a_pair_counted_twice_is_the_pair_twice() -> None:
    data = pairs(40)
    twice = data[torch.cat([torch.arange(40), torch.arange(10)])]
    counts = torch.cat([torch.full((10,), 2.0), torch.ones(30)])[None]
    a = maximum_likelihood(LinearModel(1, vocabulary=5, dtype=torch.float64), data, counts=counts)
    b = maximum_likelihood(LinearModel(1, vocabulary=5, dtype=torch.float64), twice)
    torch.testing.assert_close(a.weight, b.weight, rtol=0, atol=1e-5)


def test_a_bootstrap_draws_as_many_pairs_as_there_are() -> None:
    counts = bootstrap(400, 5, Rng(0))
    assert counts.sum(1).tolist() == [400.0] * 5 and counts.unique(dim=0).shape[0] == 5
    assert torch.equal(
        counts[:2], bootstrap(400, 2, Rng(0))
    )  # a member's draw does not depend on how many there are
    assert 0.34 < float((counts == 0).float().mean()) < 0.40  # e⁻¹ of the pairs are left out


def test_a_list_gives_each_member_its_own_rows() -> None:
    model = LinearModel(3, vocabulary=5, rows=2, rng=Rng(0), dtype=torch.float64)
    parts = [pairs(8, seed) for seed in range(3)]
    out = model(parts)
    assert out.shape == (3, 8, 2) and out.requires_grad
    for m, x in enumerate(parts):
        assert torch.equal(out[m], model(x)[m])
    assert not torch.equal(model.weight[0], model.weight[1])  # every member its own start


def test_what_is_not_in_the_answer_does_not_count() -> None:
    table = torch.arange(5.0)[None, None]
    x = pairs(3)
    keep = torch.arange(4) < 2
    short = Samples(
        x.prompts,
        x.action,
        x.mask & (torch.arange(4) < 1),
        x.mask & (torch.arange(4) == 1),
        x.logp,
        x.ended,
    )
    torch.testing.assert_close(additive(table, short)[0], (x.action * keep).sum(-1).float())


def test_standardised_is_mean_zero_and_variance_one() -> None:
    reward = LinearReward(torch.arange(10.0).reshape(1, 2, 5).sin(), ("a",))
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.3, 0.1], [0.5, 0.1, 0.1, 0.1, 0.2]])
    policy = TablePolicy(probs.log(), length=4)
    x = policy.sample(policy.prompts(torch.arange(400) % 2), 200, Rng(0)("bank"))
    once = reward.standardised(probs, 4)
    score = once(x)[0]
    assert abs(float(score.mean())) < 4.5 / 280 and abs(float(score.var()) - 1) < 0.03
    mean, variance = once.moments(probs, 4)
    torch.testing.assert_close(mean.mean(-1), torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(variance.mean(-1) + mean.var(-1, correction=0), torch.ones(1))
    torch.testing.assert_close(
        once.standardised(probs, 4)(x)[0], score, atol=1e-5, rtol=1e-5
    )  # once is enough
    constant = LinearReward(torch.ones(1, 1, 5), ("a",)).standardised(probs, 4)
    assert constant(x).abs().max() < 1e-6


def test_a_reward_goes_round(tmp_path: Path) -> None:
    model = LinearModel(2, vocabulary=5, rows=2, rng=Rng(0))
    reward = model.freeze(("a", "b")).standardised(torch.full((2, 5), 0.2), 4)
    assert isinstance(reward, Reward)
    reward.save(tmp_path / "r")
    again = LinearReward.load(tmp_path / "r")
    assert (
        again.names == ("a", "b")
        and torch.equal(again(pairs(9)), reward(pairs(9)))
        and not again(pairs(9)).requires_grad
    )


@pytest.mark.parametrize("harm", ["missing", "cut", "other", "nonsense"])
def test_a_damaged_reward_is_named(tmp_path: Path, harm: str) -> None:
    LinearReward(torch.zeros(1, 1, 5), ("a",)).save(tmp_path)
    about, weights = tmp_path / "reward.json", tmp_path / "weights.safetensors"
    if harm == "missing":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-9])
    else:
        about.write_text('{"schema": 2, "kind": "ensemble"}' if harm == "other" else "not json")
    with pytest.raises(InputError, match=str(tmp_path)):
        LinearReward.load(tmp_path)


def test_every_member_needs_a_name() -> None:
    with pytest.raises(InputError, match="2 members need as many names, got 1"):
        LinearModel(2, vocabulary=3).freeze(("only",))
