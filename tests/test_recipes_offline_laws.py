"""What the offline recipes mean: their first step by hand, their optima on exact tables, what never
matters.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from assay.core import Carry, InputError, Loop, Pairs, Step, Task
from assay.core.rng import Rng
from assay.loops import Margins
from assay.models.policies.table import TablePolicy
from assay.recipes import (
    direct_alignment,
    dpo,
    regularised_preference,
    reward_distillation,
    token_reward,
)

Arguments = dict[str, Any]
FAMILY: list[tuple[Any, Arguments]] = [
    (dpo, {}),
    (direct_alignment, {"loss": "ipo"}),
    (direct_alignment, {"loss": "slic", "alpha": 0.1}),
    (direct_alignment, {"mean": True}),
    (regularised_preference, {}),
    (regularised_preference, {"average": True}),
    (reward_distillation, {"binary": True, "gamma": 0.1}),
    (token_reward, {"contrast": 2}),
    (token_reward, {"contrast": 2, "mean": True, "weighted": True}),
]


def table(V: int = 6, length: int = 4, R: int = 2) -> TablePolicy:
    policy = TablePolicy(torch.randn(R, V, dtype=torch.float64), length=length)
    return policy.requires_grad_(False)


def task_of(
    reference: TablePolicy, n: int = 24, *, shorter: bool = False, rewards: Any = None
) -> Task:
    """Pairs drawn from the reference, the first answer preferred; `shorter`: the second has half of
    its decisions.
    """
    prompts = reference.prompts(torch.arange(n) % reference.logits.shape[0])
    x = reference.sample(prompts, 2, Rng(3)("pairs"))
    mask = x.mask.clone()
    if shorter:
        mask[:, 1, reference.length // 2 :] = False
    pairs = Pairs(
        x.prompts,
        x.action,
        mask,
        x.given,
        torch.where(mask, x.logp, 0.0),
        x.ended,
        p=torch.ones(n),
        margin=torch.zeros(n),
    )
    return Task(
        prompts=prompts,
        reference=reference,
        pairs=pairs,
        rewards=rewards,
        carry=Carry(),
        rng=Rng(0)("run"),
    )


def steps(module: Any, task: Task, arguments: Arguments, n: int = 1, **loop: Any) -> list[Step]:
    loop = {"batch_size": len(task.pairs), "learning_rate": 0.05, **loop}
    extra = arguments.get("contrast", 0)
    found = list(
        module.recipe(task.replaced(carry=Carry()), **arguments, loop=Loop(max_steps=n, **loop))
    )
    return found[extra if module is token_reward else 0 :]


def first(module: Any, task: Task, arguments: Arguments) -> dict[str, float]:
    return steps(module, task, arguments)[0].stats


def test_at_the_reference_every_loss_is_what_it_is_at_zero() -> None:
    task = task_of(table())
    assert first(dpo, task, {})["loss"] == pytest.approx(math.log(2))
    assert first(direct_alignment, task, {"loss": "ipo", "beta": 0.25})["loss"] == pytest.approx(
        4.0
    ), "(1/(2·0.25))²"
    stats = first(direct_alignment, task, {"loss": "slic"})
    assert stats["loss"] == pytest.approx(1.0)
    assert (stats["rewards/margins"], stats["rewards/chosen"], stats["rewards/accuracies"]) == (
        0.0,
        0.0,
        0.0,
    )
    logp = task.reference.logp(task.pairs).sum(-1).mean(0)
    assert (stats["logps/chosen"], stats["logps/rejected"]) == pytest.approx(tuple(logp.tolist()))


def test_the_gradient_of_dpo_at_zero_is_half_beta_times_the_difference_of_scores() -> None:
    reference = table()
    task = task_of(reference)
    live = reference.copy()
    logp = live.logp(task.pairs).sum(-1)
    (-(0.1 / 2) * (logp[:, 0] - logp[:, 1])).mean().backward()
    assert first(dpo, task, {"beta": 0.1})["grad_norm"] == pytest.approx(
        float(live.logits.grad.norm()), rel=1e-6
    )


@pytest.mark.parametrize(("average", "eta"), [(False, 0.5), (True, 0.2)])
def test_rpo_adds_imitation_with_its_sign_and_its_beta(average: bool, eta: float) -> None:
    task = task_of(table(), shorter=True)
    turned = task.pairs.pick(
        torch.tensor([[1, 0]]).expand(len(task.pairs), 2)
    )  # now the chosen answers are the short ones
    task = task.replaced(pairs=turned)
    got = first(regularised_preference, task, {"beta": 0.3, "eta": eta, "average": average})
    weight = eta / 2 if average else eta * 0.3  # two decisions an answer
    assert got["loss"] == pytest.approx(math.log(2) - weight * got["logps/chosen"])
    much = steps(regularised_preference, task, {"eta": 50.0, "average": average}, 40)
    none = steps(regularised_preference, task, {"eta": 0.0, "average": average}, 40)
    assert much[-1].stats["logps/chosen"] > max(none[-1].stats["logps/chosen"], got["logps/chosen"])


def test_the_length_term_asks_less_of_a_longer_winner() -> None:
    task = task_of(table(), shorter=True)  # chosen: four decisions; rejected: two
    loss = first(direct_alignment, task, {"alpha": 0.25, "beta": 0.1})["loss"]
    assert loss == pytest.approx(math.log(1 + math.exp(-0.5))), "−log σ(+α(4 − 2))"
    assert first(direct_alignment, task, {"loss": "slic", "alpha": 0.25})["loss"] == pytest.approx(
        0.5
    )


@pytest.mark.parametrize(
    ("module", "arguments"), FAMILY, ids=lambda x: getattr(x, "__name__", str(x)).split(".")[-1]
)
def test_the_order_of_answers_is_no_more_than_a_label(module: Any, arguments: Arguments) -> None:
    task = task_of(table())
    half = torch.arange(len(task.pairs)) % 2 == 0
    place = torch.where(half[:, None], torch.tensor([1, 0]), torch.tensor([0, 1]))
    turned = replace(task.pairs.pick(place), p=torch.where(half, 0.0, 1.0))
    if arguments.get("gamma"):
        arguments = {**arguments, "beta": 0.3}
    a, b = (
        steps(module, task.replaced(pairs=p), arguments, 3)[-1].policy.logits
        for p in (task.pairs, turned)
    )
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("loss", ["dpo", "ipo", "slic"])
def test_on_one_pair_margins_go_where_the_loss_says(loss: str) -> None:
    task = task_of(table(V=3, length=1, R=1))
    differs = (task.pairs.action[:, 0] != task.pairs.action[:, 1]).any(-1).nonzero()[0]
    task = task.replaced(pairs=task.pairs[differs])
    done = steps(
        direct_alignment,
        task,
        {"loss": loss, "beta": 0.25},
        150,
        learning_rate=0.05 if loss == "slic" else 0.2,
    )[-1]
    last = done.stats["rewards/margins"]
    if loss == "ipo":
        assert last == pytest.approx(0.25 * 2.0, abs=1e-3), "β times 1/(2τ) nats"
    elif loss == "slic":
        assert 1.0 <= last < 1.5, "no gradient past the margin; what is beyond is Adam's momentum"
    else:
        assert last > 3.0, "nothing holds DPO"


def test_credit_is_bounded_and_shuffling_keeps_an_answer_s_credit() -> None:
    reference = table(V=9, length=6)
    task = task_of(reference, shorter=True)
    better, worse = table(V=9, length=6), table(V=9, length=6)
    s = token_reward.credit(better, worse, task.pairs, task.pairs)
    assert not s.requires_grad
    assert float(s.abs().max()) < 0.5
    assert torch.equal(s != 0, task.pairs.mask)
    torch.testing.assert_close(
        token_reward.credit(worse, better, task.pairs, task.pairs),
        -s,
        msg="the two sides exchanged",
    )
    assert float(token_reward.credit(better, better, task.pairs, task.pairs).abs().max()) == 0.0
    mixed = token_reward.shuffle(s, task.pairs, Rng(1), torch.arange(len(task.pairs)))
    torch.testing.assert_close(mixed.sort(-1).values, s.sort(-1).values)
    assert torch.equal(mixed != 0, task.pairs.mask)
    assert not torch.equal(mixed, s)
    some = torch.tensor([5, 2])
    again = token_reward.shuffle(s[some], task.pairs[some], Rng(1), some)
    assert torch.equal(again, mixed[some]), "a pair's places do not depend on its batch"


def test_a_good_token_in_a_rejected_answer_is_pushed_up() -> None:
    """Token 0 tells chosen from rejected in most pairs; where it stands in a rejected answer its
    credit is still positive.
    """
    reference = TablePolicy(torch.zeros(1, 4, dtype=torch.float64), length=2).requires_grad_(False)
    words = [[[0, 1], [2, 1]]] * 7 + [[[3, 3], [0, 1]]]
    action = torch.tensor(words)
    mask = torch.ones_like(action, dtype=torch.bool)
    n = len(words)
    pairs = Pairs(
        reference.prompts(torch.zeros(n, dtype=torch.int64)),
        action,
        mask,
        ~mask,
        torch.zeros(n, 2, 2),
        mask.any(-1),
        p=torch.ones(n),
        margin=torch.zeros(n),
    )
    better, worse = reference.copy(), reference.copy()
    with torch.no_grad():
        better.logits[0, 0] += 1.0  # what imitation of chosen against rejected answers comes to
        worse.logits[0, 2] += 1.0
    s = token_reward.credit(better, worse, pairs, pairs)
    assert float(s[7, 1, 0]) > 0 > float(s[0, 1, 0])


def test_what_a_step_says_counts_whole_pairs_alone() -> None:
    task = task_of(table())
    margins, absent = Margins(0.5), replace(task.pairs, mask=task.pairs.mask.clone())
    absent.mask[3, 1] = False
    keep = torch.arange(len(absent)) != 3
    logp, zero = torch.randn(len(absent), 2, 4), torch.zeros(len(absent), 2, 4)
    margins.add(absent, logp, zero)
    gap = 0.5 * (logp[keep, 0].sum(-1) - logp[keep, 1].sum(-1))
    assert margins.means()["rewards/margins"] == pytest.approx(float(gap.mean()), rel=1e-5)
    assert margins.means()["rewards/accuracies"] == pytest.approx(float((gap > 0).float().mean()))
    assert Margins(1.0).means() == {}


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        (direct_alignment, {"loss": "kto"}, "--loss is 'kto'; it is one of dpo, ipo, slic"),
        (direct_alignment, {"beta": 0.0}, "--beta is 0.0; it must be above 0"),
        (
            reward_distillation,
            {"least": "most"},
            "--least is 'most'; it is one of data, batch, example, mean",
        ),
    ],
)
def test_wrong_constants_are_one_sentence(module: Any, arguments: Arguments, said: str) -> None:
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        first(module, task_of(table()), arguments)
