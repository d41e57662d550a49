"""What RSO, robust DPO, LiPO, KTO and SLiC-HF mean: they are one another at their limits, their
first step by hand, what their guards count, and that they run on a model of transformers.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from test_recipes_offline_laws import first, steps, table, task_of

import assay
from assay.core import Carry, InputError, Loop, Samples
from assay.core.rng import Rng
from assay.engine.gauge import Sums, gauge, means
from assay.formulas.flips import flip_rate
from assay.recipes import dpo, kto, lipo, robust_dpo, rso, slic
from assay.worlds import table as tables


def one_pair() -> Any:
    """A task of a single pair whose completions differ."""
    task = task_of(table(V=3, length=1, R=1))
    differs = (task.pairs.action[:, 0] != task.pairs.action[:, 1]).any(-1).nonzero()[0]
    return task.replaced(pairs=task.pairs[differs])


def test_at_the_reference_every_loss_is_what_it_is_at_zero() -> None:
    task = task_of(table())
    # [(1 − ε) log 2 − ε log 2]/(1 − 2ε)
    assert first(robust_dpo, task, {"flip": 0.3})["loss"] == pytest.approx(math.log(2))
    stats = first(kto, task, {"desirable_weight": 1.5})
    assert stats["loss"] == pytest.approx((1.5 + 1.0) / 4), "σ(0) of either kind"
    assert (stats["kto/reference_point"], stats["kto/mismatched"]) == (0.0, 1.0)
    total = task.reference.logp(task.pairs).sum(-1)
    hinge = (2.0 - total[:, 0] + total[:, 1]).clamp(min=0)
    assert first(slic, task, {"margin": 2.0, "weight": 0.1})["loss"] == pytest.approx(
        float((hinge - 0.1 * total[:, 0]).mean())
    )


@pytest.mark.parametrize("module", [robust_dpo, kto, slic], ids=lambda m: m.__name__)
def test_the_order_of_answers_is_no_more_than_a_label(module: Any) -> None:
    task = task_of(table())
    half = torch.arange(len(task.pairs)) % 2 == 0
    place = torch.where(half[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
    turned = replace(task.pairs.pick(place), p=torch.where(half, 0.0, 1.0))
    a, b = (
        steps(module, task.replaced(pairs=p), {}, 3)[-1].policy.logits for p in (task.pairs, turned)
    )
    torch.testing.assert_close(a, b)


def test_rdpo_runs_away_on_a_pair_that_nothing_contradicts_and_the_limit_ends_it() -> None:
    ends, seen = {}, {}
    for limit in (0.0, 4.0):
        sums: Sums = {}
        with gauge.into(sums):
            arguments = {"flip": 0.3, "beta": 1.0, "limit": limit}
            done = steps(robust_dpo, one_pair(), arguments, 150, learning_rate=0.2)
        ends[limit], seen[limit] = done[-1].stats, means(sums)
    assert ends[0.0]["loss"] < -5 and ends[0.0]["rewards/margins"] > 20
    assert 4 < ends[4.0]["rewards/margins"] < 10, "what is beyond is Adam's momentum"
    assert ends[4.0]["loss"] > -4
    assert all(0.8 < s["robust/negative"] < 1 for s in seen.values()), "of all steps but the first"
    assert seen[0.0]["robust/beyond_limit"] == 0 < 0.5 < seen[4.0]["robust/beyond_limit"] < 1


def test_rdpo_is_dpo_at_a_smaller_beta_until_logits_are_large() -> None:
    """So a grid of β that ends above β·(1−2ε) compares two strengths and not two losses."""
    task = task_of(table())
    ends = {
        name: steps(module, task, arguments, 30)[-1].policy.logits.detach()
        for name, module, arguments in (
            ("rdpo", robust_dpo, {"flip": 0.3, "beta": 0.05}),
            ("dpo", dpo, {"beta": 0.05 * (1 - 2 * 0.3)}),
            ("as strong", dpo, {"beta": 0.05}),
        )
    }
    moved = float((ends["rdpo"] - task.reference.logits).abs().max())
    near, far = (float((ends["rdpo"] - ends[k]).abs().max()) for k in ("dpo", "as strong"))
    assert moved > 0.5 and near < moved / 100 and near < far / 10


def margins(n: int = 5_000) -> torch.Tensor:
    return 2 * Rng(1)("margins").normal(torch.arange(n), dtype=torch.float64)


def labels(m: torch.Tensor, rate: float) -> torch.Tensor:
    n = torch.arange(len(m))
    right = Rng(2)("labels").uniform(n) < m.sigmoid()
    return (right ^ (Rng(3)("flips").uniform(n) < rate)).double()


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_the_share_of_flips_is_found_from_true_margins_in_any_unit(rate: float) -> None:
    m = margins()
    found = flip_rate(5 * m, labels(m, rate))
    assert found.rate == pytest.approx(rate, abs=0.04)
    assert found.scale == pytest.approx(0.2, rel=0.25)
    assert (found.gain > 1e-3) == (rate > 0), "in nats a label"


def test_errors_of_margins_lower_the_scale_and_an_exchanged_pair_is_the_same_pair() -> None:
    m = margins()
    y, wrong = labels(m, 0.1), m + 2 * Rng(4)("errors").normal(torch.arange(len(m)))
    assert flip_rate(wrong, y).scale < flip_rate(m, y).scale / 2
    one, other = flip_rate(m[:500], y[:500]), flip_rate(-m[:500], 1 - y[:500])
    assert (one.rate, one.scale) == pytest.approx((other.rate, other.scale))


def test_one_margin_far_out_leaves_every_number_finite() -> None:
    m = torch.cat([torch.tensor([1000.0]), torch.full((400,), 0.01)])
    found = flip_rate(m)
    assert math.isfinite(found.gain) and found.rate < 1e-3


def test_margins_that_say_nothing_are_refused() -> None:
    for bad in (torch.zeros(5), torch.tensor([1.0]), torch.tensor([1.0, torch.nan])):
        with pytest.raises(ValueError, match="cannot be estimated"):
            flip_rate(bad)


def test_robust_dpo_estimates_flips_without_gold() -> None:
    """More flips, a larger estimate, each within a tenth; the policy trains with it."""
    found = []
    for noise in (0.0, 0.3):
        task = tables.world(seed=1, pairs=4000, noise=noise, members=1).task
        loop = Loop(max_steps=60, batch_size=64, learning_rate=0.05)
        found.append(robust_dpo.estimated(task.replaced(carry=Carry()), 0.1, loop))
    assert found[0] < 0.1 and found[1] == pytest.approx(0.3, abs=0.1)
    step = next(
        robust_dpo.recipe(
            task.replaced(carry=Carry()), estimate=True, loop=replace(loop, max_steps=1)
        )
    )
    assert 0 <= step.stats["robust/flip"] < 0.5


@pytest.fixture
def bandit() -> Any:
    task = tables.world(testbed="bandit", prompts=4, responses=24, pairs=40, members=2).task
    task.reference.double()  # type: ignore[attr-defined]  # Adam turns float32's rounding into steps
    return task


def trained(module: Any, task: Any, n: int, **arguments: Any) -> torch.Tensor:
    loop = Loop(max_steps=4, batch_size=4, num_generations=n, learning_rate=0.05)
    *_, last = module.recipe(task.replaced(carry=Carry()), **arguments, loop=loop)
    return last.policy.logits.detach()


def test_lists_of_two_are_pairs_that_the_reward_model_labels(bandit: Any) -> None:
    """RSO that accepts both of two candidates has the same pairs."""
    pairs = trained(rso, bandit, 2, keep=2, accept_beta=1e9, beta=0.3)
    assert (pairs - bandit.reference.logits).abs().max() > 0.05
    for loss in ("all_pairs", "best_worst", "plackett_luce", "softmax"):
        torch.testing.assert_close(trained(lipo, bandit, 2, loss=loss, beta=0.3), pairs)


def test_lipos_weights_matter_and_exchanging_them_too(bandit: Any) -> None:
    runs = [
        trained(lipo, bandit, 6, beta=0.3),
        trained(lipo, bandit, 6, beta=0.3, loss="all_pairs"),
        trained(lipo, bandit, 6, beta=0.3, shuffled=True),
        trained(lipo, bandit, 6, beta=0.3, label_by="win_rate"),
    ]
    for i, a in enumerate(runs):
        assert all((a - b).abs().max() > 1e-3 for b in runs[:i])


def test_rso_at_0_is_the_best_of_n_and_says_how_many_it_accepts(bandit: Any) -> None:
    """Of the two best of n, unlike of any two, nothing that is bad gains or loses."""
    seen: dict[float, list[Samples]] = {}
    for accept in (0.0, 1e9):
        seen[accept] = []
        task = bandit.replaced(carry=Carry())
        loop = Loop(max_steps=1, batch_size=4, num_generations=16, learning_rate=0.05)
        step = next(rso.recipe(task, keep=2, accept_beta=accept, loop=loop))
        share = step.stats["rso/acceptance"]
        assert share < 0.5 if accept == 0 else share == pytest.approx(1.0)
        moved = (step.policy.logits - task.reference.logits).abs() > 1e-3
        x = task.reference.sample(task.batch(loop, 0), 16, task.rng("sample", 0))
        score = task.rewards.only([0])(x)[0]
        for b, row in enumerate(x.prompts.row.tolist()):
            best = set(x.action[b, score[b].topk(2).indices].flatten().tolist())
            if accept == 0 and len(best) == 2:
                assert best <= set(moved[row].nonzero().flatten().tolist())


def test_rso_says_which_of_its_pairs_tie(bandit: Any) -> None:
    """The best of many draws of few completions are one completion, and its pairs teach nothing."""
    task = bandit.replaced(carry=Carry())
    loop = Loop(max_steps=1, batch_size=4, num_generations=256, learning_rate=0.05)
    found = {}
    for keep in (2, 128):
        run = rso.recipe(task.replaced(carry=Carry()), keep=keep, accept_beta=0.0, loop=loop)
        found[keep] = next(run).stats["rso/tied"]
    x = task.reference.sample(task.batch(loop, 0), 256, task.rng("sample", 0))
    two = task.rewards.only([0])(x)[0].topk(2).values
    assert found[2] == float((two[:, 0] == two[:, 1]).double().mean()) > 0
    assert 0 < found[128] < found[2]


def test_ktos_point_is_the_mean_of_mismatched_ratios() -> None:
    task = task_of(table(R=4))
    *_, before, last = steps(kto, task, {"beta": 0.5}, 5)
    del before
    four = steps(kto, task, {"beta": 0.5}, 4)[-1].policy
    x = task.pairs
    moved = replace(x, action=x.action.roll(1, 0), logp=x.logp.roll(1, 0))  # rows take turns
    assert (x.prompts.row != x.prompts.row.roll(1)).all()
    with torch.no_grad():
        ratio = (four.logp(moved) - task.reference.logp(moved)).sum(-1)
    assert last.stats["kto/reference_point"] == pytest.approx(max(0.0, float(ratio.mean())))


def test_kto_unpaired_sees_one_completion_of_each_pair() -> None:
    task = task_of(table())
    x = kto.labelled(task, unpaired=True)
    assert x.mask.shape[:2] == (len(task.pairs), 1)
    good = x.extra["desirable"][:, 0].bool()
    assert 0 < int(good.sum()) < len(good)
    whose = torch.where(good, 0, 1)[:, None]
    assert torch.equal(x.action, task.pairs.pick(whose).action)
    stats = steps(kto, task, {"unpaired": True}, 3)[-1].stats
    assert stats["loss"] < 0.5


def test_slics_anchor_holds_what_its_hinge_lets_go() -> None:
    task = task_of(table())
    loose, held = (
        steps(slic, task, {"margin": 50.0, "weight": w}, 60)[-1].stats for w in (0.0, 3.0)
    )
    assert held["logps/chosen"] > loose["logps/chosen"] + 0.1
    far = steps(slic, task, {"margin": 50.0, "weight": 3.0, "target": "reference"}, 60)[-1].policy
    near = steps(slic, task, {"margin": 50.0, "weight": 0.0, "target": "reference"}, 60)[-1].policy
    kl = [float(p.kl(task.reference, task.pairs).mean()) for p in (far, near)]
    assert kl[0] < kl[1] / 2


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (rso, {"keep": 3}, "--keep is 3"),
        (rso, {"keep": 32}, "--keep is 32"),
        (rso, {"keep": 2, "accept_beta": -1.0}, "--accept-beta is -1"),
        (lipo, {"beta": 0.0}, "--beta is 0"),
        (lipo, {"loss": "all_pairs", "shuffled": True}, "--shuffled"),
        (robust_dpo, {"flip": 0.5}, "--flip is 0.5"),
        (robust_dpo, {"limit": -1.0}, "--limit is -1"),
        (kto, {"desirable_weight": -1.0}, "--desirable-weight is -1"),
        (slic, {"margin": 0.0}, "--margin is 0"),
    ],
)
def test_constants_that_mean_nothing_are_refused(
    bandit: Any, module: Any, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        next(module.recipe(bandit, **arguments, loop=Loop(num_generations=8)))


@pytest.mark.parametrize("name", ["rso", "robust_dpo", "lipo", "kto", "slic"])
def test_it_trains_a_folder_of_transformers(name: str, tmp_path: Path) -> None:
    model = checkpoint(tmp_path / "model", "llama")
    asks = [f"please tell me about the {a} mill {b}" for a in ("old", "new") for b in range(6)]
    (tmp_path / "asks.jsonl").write_text("\n".join(json.dumps({"prompt": a}) for a in asks))
    pairs = [{"prompt": a, "chosen": "the river", "rejected": "a gate at the pond"} for a in asks]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (tmp_path / "judge.py").write_text(
        "def words(prompts, completions, **columns):\n"
        "    return [float(len(c)) for c in completions]\n"
    )
    own: dict[str, Any] = {"keep": 2} if name == "rso" else {}
    run = assay.train(
        name,
        model=str(model),
        prompts=str(tmp_path / "asks.jsonl"),
        pairs=str(tmp_path / "pairs.jsonl"),
        rewards=[f"{tmp_path / 'judge.py'}:words"],
        out=tmp_path / "run",
        max_steps=2,
        batch_size=4,
        num_generations=4,
        max_tokens=24,
        held_out=2,
        learning_rate=3e-3,
        eval_steps=1,
        eval_generations=2,
        quiet=True,
        **own,
    )
    last = run.readings[-1]
    assert last["kl"] > 0 and math.isfinite(last["stats"]["loss"])
