"""What is recycled into items, that verdicts are learned, and that the control takes as many
updates.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from small import small_world

from assay.core import Carry, InputError, Loop, Rng
from assay.engine.parallel import meter
from assay.formulas.surrogate import reinforce
from assay.loops import leave_one_out_advantage, update
from assay.recipes import spark
from assay.recipes.spark import (
    judgements,
    mistaken,
    recipe,
    recycled,
    reflections,
    verdicts,
)
from assay.stats.judgements import balanced, counts


@pytest.fixture(scope="module")
def task():
    return small_world(spark).task


@pytest.mark.full
def test_items_say_what_was_right(task):
    x = task.reference.sample(task.prompts, 6, Rng(1))
    right = task.rewards.only([0])(x)[0] > 0.5
    right[0], right[1], right[2, :3], right[2, 3:] = True, False, True, False
    texts, prompts = x.text(), x.prompts.text()
    found = {
        use: recycled(x, right, use, 99, 0.3, Rng(2)) for use in ("pointwise", "pairwise", "all")
    }
    assert {yes for _, yes, _ in found["pointwise"]} == {"0", "1"} and {
        yes for _, yes, _ in found["pairwise"]
    } <= {"1", "2"}
    for use, items in found.items():
        for said, yes, no in items:
            assert yes != no
            b = max(
                (b for b, p in enumerate(prompts) if said.startswith(p)),
                key=lambda b: len(prompts[b]),
            )
            parts = [
                part.strip() for part in said.removeprefix(prompts[b]).split(":") if part.strip()
            ]
            marked = {
                (texts[b][n].strip(), bool(right[b, n])) for n in range(6)
            }  # equal texts may be marked both ways here
            if use == "pointwise":
                assert (parts[0], yes == "1") in marked
            elif use == "pairwise":
                assert (parts[0], yes == "1") in marked and (parts[-1], yes == "2") in marked
    easy = torch.ones_like(right)
    assert (
        len(recycled(x, easy, "pointwise", 99, 0.3, Rng(2))) == 1
    )  # all right: capped, not a lesson in saying yes


def test_the_last_word_of_a_judgement_is_its_verdict(task):
    found = [("3 + 4 : answer 7 :", "1", "0"), ("3 + 4 : answer 6 :", "0", "1")]
    texts = [["3 + 4 = 7 ; 1", "0", "answer 1 0"], ["0", "1 + 0 = 1", "0 ; 2"]]
    y = task.reference.encode([f for f, _, _ in found], texts)
    assert verdicts(y, found).tolist() == [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


@pytest.mark.full
def test_a_verdict_is_learned_and_a_constant_judge_is_worth_half(task):
    problems = task.prompts.text()[:6]
    loop = Loop(learning_rate=3e-3)
    for right in ("0", "1"):
        policy = task.reference.copy()
        opt = loop.optimiser(policy)
        taught = [(f"{p} answer 1 :", right, "1" if right == "0" else "0") for p in problems]
        worth = []
        for k in range(40):
            y = judgements(policy, taught, 16, Rng(k))
            paid = verdicts(y, taught)
            worth.append(float(paid.mean()))
            A = leave_one_out_advantage(paid, y)
            update(
                opt, lambda rows, i, A=A, p=policy: reinforce(p.logp(rows), A[i]), y, loop, Rng(k)
            )
        assert worth[-1] > 0.8 > worth[0] + 0.1
        both = [
            (f"{p} answer 1 :", *(("0", "1") if b % 2 else ("1", "0")))
            for b, p in enumerate(problems)
        ]
        said = verdicts(judgements(policy, both, 16, Rng(0)), both).mean(1).tolist()
        assert balanced(counts(said, kinds_of(both))) == pytest.approx(0.5, abs=0.1)


def kinds_of(found):
    return [(yes, no) for _, yes, no in found]


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.8])
@pytest.mark.parametrize("word", ["0", "1"])
def test_who_always_says_the_same_is_worth_a_half_of_the_items_of_few_prompts(task, rate, word):
    """Whatever the policy's accuracy, though most steps lack a kind; a coin decides where the word
    says nothing.
    """
    x = task.reference.sample(task.prompts[torch.arange(6) % len(task.prompts)], 4, Rng(1))
    steps, lacking = [], 0
    for t in range(200):
        right = Rng(t)("right").uniform(torch.arange(6)[:, None], torch.arange(4)) < rate
        found = recycled(x, right, "all", 4, 0.3, Rng(t))
        chance = [float(yes == word) if word in (yes, no) else 0.5 for _, yes, no in found]
        steps.append(counts(chance, kinds_of(found)))
        lacking += len(set(kinds_of(found))) < 4
        assert balanced(steps[-1]) in (None, 0.5)
    assert lacking > 100
    readings = [
        {"step": t, "stats": {k: sum(s[k] for s in steps[t - 5 : t]) / 5 for k in steps[0]}}
        for t in range(5, 201, 5)
    ]
    assert spark._judging(readings) == pytest.approx(0.5, abs=1e-9)


def test_a_prompt_with_nothing_wrong_gives_an_item_as_often_as_one_with_nothing_right(task):
    x = task.reference.sample(task.prompts[torch.arange(16) % len(task.prompts)], 4, Rng(1))
    right = (torch.arange(16) >= 8)[:, None].expand(16, 4)  # those with nothing wrong stand last
    found = [i for t in range(100) for i in recycled(x, right, "all", 8, 0.3, Rng(t))]
    assert len(found) == 800
    assert sum(yes == "1" for _, yes, _ in found) / 800 == pytest.approx(0.5, abs=0.06)


def test_a_coin_says_which_verdict_of_the_control_is_right():
    items = [(f"text {i}", "1", "0") for i in range(400)]
    found = mistaken(items, Rng(3))
    assert [t for t, _, _ in found] == [t for t, _, _ in items]
    assert {(yes, no) for _, yes, no in found} == {("1", "0"), ("0", "1")}
    assert 160 < sum(yes == "1" for _, yes, _ in found) < 240


def test_reflections_show_whole_completions_and_then_answers_alone(task):
    x = task.reference.sample(task.prompts, 6, Rng(1))
    right = torch.ones_like(x.present)
    right[:4, 2] = False
    wrong = torch.arange(4)
    own, strange = (
        reflections(x, right, wrong, "answer", strange=strange) for strange in (False, True)
    )
    prompts, texts = x.prompts.text(), x.text()
    for k in range(4):
        for asked, b in ((own[k], k), (strange[k], (k + 1) % 4)):
            bad = texts[b][2]
            shown = bad if k < 2 or "answer" not in bad else bad[bad.rindex("answer") :]
            assert asked == f"{prompts[k]} {shown} : {prompts[k]}"
    assert any(own[k] != f"{prompts[k]} {texts[k][2]} : {prompts[k]}" for k in (2, 3))


def test_the_controls_spend_what_the_items_spend(task):
    def spent(use):
        t = task.replaced(carry=Carry(), rng=Rng(0))
        counts = dict.fromkeys(meter.counts, 0)
        with meter.charging(counts):
            steps = list(
                recipe(
                    t,
                    use=use,
                    items=4,
                    loop=Loop(max_steps=2, batch_size=6, num_generations=4, learning_rate=1e-3),
                )
            )
        return steps[-1].policy, steps[-1].stats, counts

    found = {use: spent(use) for use in ("none", "steps", "all", "shuffled")}
    for what in ("generated", "updates"):
        assert len({found[use][2][what] for use in ("steps", "all", "shuffled")}) == 1
    assert found["steps"][2]["scored"] > found["all"][2]["scored"] == found["shuffled"][2]["scored"]
    assert found["all"][2]["updates"] == 6 and found["none"][2]["updates"] == 2
    assert found["all"][2]["generated"] > found["none"][2]["generated"] + 2 * 4 * 4
    for use in ("all", "steps", "shuffled"):
        items = {k: v for k, v in found[use][1].items() if k.startswith("judge/items/")}
        assert len(items) == 4 and 0 < sum(items.values()) <= 4
        assert all(found[use][1][k.replace("items", "right")] <= v for k, v in items.items())
    assert not any(k.startswith("judge/") for k in found["none"][1])
    states = [
        torch.cat([v.flatten() for v in p.state_dict().values()]) for p, _, _ in found.values()
    ]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(states, 2))
    with pytest.raises(InputError, match="--use is 'judge'"):
        next(iter(recipe(task.replaced(carry=Carry()), use="judge", loop=Loop())))
