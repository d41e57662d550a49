"""A panel that answers, an encoder that foretells where it fails, and rewrites chosen by that."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import InputError, Loop, Rng, World
from assay.loops import fact_questions as made
from assay.models.vocabulary import Vocabulary
from assay.recipes import prompt_risk
from assay.registry.catalogue import load_world as world_of
from assay.rewards.risk_encoder import Labelled, fitted, told


@pytest.fixture(scope="module")
def world() -> World:
    return world_of("study")(seed=0)


@pytest.fixture(scope="module")
def facts() -> made.Facts:
    return made.facts(Rng(0)("facts"))


def test_every_question_is_words_and_its_place_is_its_own(facts: made.Facts) -> None:
    every = made.every()
    assert made.place(every).tolist() == list(range(len(every)))
    texts = [facts.text(q) for q in every.tolist()]
    assert len(set(texts)) == len(texts), "no two questions are put alike"
    right = facts.right(every)
    for q, answer in zip(every[::97].tolist(), right[::97].tolist(), strict=True):
        assert made.ANSWERS[answer] in made.VALUES[made.ATTRIBUTES[q[1]]]
    assert len(facts.prompts(every[:5])) == 5


def test_rewrites_keep_the_question_but_for_slips(facts: made.Facts) -> None:
    asked = made.asked(400, Rng(1))
    same = made.rewritten(asked, 8, Rng(2), slip=0.0)
    assert bool((same[..., :2] == asked[:, None, :2]).all())
    assert 0.2 < float((same[..., 2] != asked[:, None, 2]).double().mean()) < 0.6
    slipped = made.rewritten(asked, 8, Rng(2), slip=0.5)
    other = (slipped[..., 0] != asked[:, None, 0]).double().mean()
    assert 0.3 < float(other) < 0.5 and bool((slipped[..., 1] == asked[:, None, 1]).all())


def test_true_risk_is_of_the_question_that_was_meant(facts: made.Facts) -> None:
    """Two members: one always right, one that says the first answer; by hand."""
    every = made.every()
    right = torch.nn.functional.one_hot(facts.right(every), len(made.ANSWERS)).double()
    said = torch.stack([right, right.roll(1, -1)])
    q = torch.tensor([[0, 0, 0, 0]])
    assert made.risk(facts, said, q, q).tolist() == pytest.approx([0.5])
    other = next(
        e for e in range(made.THINGS) if (facts.value[e, 0] - facts.value[0, 0]) not in (0, -1)
    )
    slip = torch.tensor([[[other, 0, 0, 0]]])
    assert made.risk(facts, said, slip, q[:, None]).tolist() == [[1.0]], "right, of another thing"
    answers = made.drawn(said[:1], q[:, None].expand(1, 50, 4), Rng(0))
    assert bool((answers == facts.right(q)).all())


def test_the_encoder_finds_the_word_that_fails_and_needs_its_labels() -> None:
    words = Vocabulary(["what", "why", "is", "a", "b", "c", "d"])
    draw = torch.Generator().manual_seed(0)
    rows, share = [], []
    for _ in range(300):
        bad = bool(torch.rand((), generator=draw) < 0.5)
        tail = "abcd"[int(torch.randint(4, (), generator=draw))]
        rows.append(f"{'why' if bad else 'what'} is {tail}")
        share.append(float((torch.rand(6, generator=draw) < (0.8 if bad else 0.2)).double().mean()))
    prompts, y = words.prompts(rows), torch.tensor([[s, 1 - s] for s in share])
    loop = Loop(max_steps=120, batch_size=32, learning_rate=1e-2)
    model = fitted(
        Labelled(prompts.tokens, prompts.mask, y), len(words), Rng(0), width=8, loop=loop
    )
    wrong, agree = told(model, words.prompts(["why is a", "what is a"])).sigmoid().T
    assert wrong.tolist() == pytest.approx([0.8, 0.2], abs=0.12)
    assert agree.tolist() == pytest.approx([0.2, 0.8], abs=0.12)
    mixed = y[torch.randperm(300, generator=draw)]
    blind = fitted(
        Labelled(prompts.tokens, prompts.mask, mixed), len(words), Rng(0), width=8, loop=loop
    )
    lost = told(blind, words.prompts(["why is a", "what is a"]))[:, 0].sigmoid()
    assert abs(float(lost[0] - lost[1])) < 0.25


def test_no_thing_is_named_by_a_word_of_the_questions() -> None:
    """Of 200 worlds a few would have been refused: a name of two syllables can be "name"."""
    for seed in range(200):
        world = made.facts(Rng(seed))
        names = {n for pair in world.names for n in pair}
        assert len(names) == 2 * len(world.names) and not names & {*made.ATTRIBUTES, *made.ANSWERS}
        assert not names & {w for way in made.WAYS for w in way.split()}


def test_answers_agree_by_the_share_of_the_most_frequent() -> None:
    answer = torch.tensor([[3, 3, 1, 3], [0, 1, 2, 3]])
    assert prompt_risk.agreeing(answer).tolist() == [0.75, 0.25]


def test_length_is_fitted_by_the_likelihood_of_shares() -> None:
    """Two lengths: the fit is the logit of each one's share, by hand."""
    length = torch.tensor([0.0] * 4 + [10.0] * 4, dtype=torch.float64)
    share = torch.tensor([0.25] * 4 + [0.75] * 4, dtype=torch.float64)
    w = prompt_risk.of_length(length, share)
    assert w.tolist() == pytest.approx([2 * math.log(3), -math.log(3)], abs=1e-2)


def test_a_choice_keeps_the_question_where_no_rewrite_is_predicted_safer() -> None:
    logit, true = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.7, 0.1]], dtype=torch.float64)
    away, own, asked = torch.zeros(1, 2), torch.tensor([0.0]), torch.tensor([0.4])
    lines = list(
        prompt_risk.chosen(
            "x", logit.double(), true, away.double(), 0.0, 2, own.double(), asked.double()
        )
    )
    # n = 1: either rewrite; the first is predicted riskier than the question, so it is not asked
    assert [x["true_risk"] for x in lines] == pytest.approx([(0.4 + 0.1) / 2, 0.1])
    assert lines[1]["predicted_risk"] == pytest.approx(1 / (1 + math.e))


def test_the_study_trains_answers_and_chooses(world: World) -> None:
    lines: list[dict[str, Any]] = list(
        prompt_risk.study(
            world, questions=60, widths=(8,), at=(3, 6), asked=12, most=4, width=8, steps=20
        )
    )
    fits = {x["fit"]: x for x in lines if "fit" in x}
    assert set(fits) == set(prompt_risk.ARMS)
    for x in fits.values():
        assert x["excess_log_score"] >= -1e-9 and 0 <= x["calibration_error"] <= 1
    for name in ("encoder", "cut", "shuffled"):  # the second head is read, where there is one
        assert fits[name]["agreement_log_score"] > 0 < fits[name]["agreement_knowing_nothing"]
    assert "agreement_log_score" not in fits["length"]
    choices = [x for x in lines if "choice" in x]
    assert {(x["choice"], x["n"]) for x in choices} == {
        (c, n) for c in ("encoder", "shuffled") for n in (1, 2, 4)
    }
    free = [x for x in choices if x["choice"] == "encoder" and x["penalty"] == 0]
    told_ = [x["predicted_risk"] for x in free]
    assert told_ == sorted(told_, reverse=True), "the best of more rewrites is predicted safer"
    assert {x["labels"] for x in lines if x.get("kind") == "spent"} == {360}
    with pytest.raises(InputError, match="a slip is a chance"):
        next(prompt_risk.study(world, slip=2.0))


def test_your_own_labels_are_judged_on_questions_not_seen(world: World, tmp_path: Path) -> None:
    file, draw = tmp_path / "answers.jsonl", torch.Generator().manual_seed(0)
    rows = []
    for i in range(200):
        bad = i % 2
        wrong = int((torch.rand(6, generator=draw) < (0.85 if bad else 0.15)).sum())
        rows.append(
            {"question": f"{'why' if bad else 'what'} is it {i % 7}", "wrong": wrong, "draws": 6}
        )
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    fits = {x["fit"]: x for x in prompt_risk.study(world, answers=str(file))}
    assert fits["encoder"]["log_score"] < fits["shuffled"]["log_score"] - 0.05
    assert fits["encoder"]["log_score"] < fits["length"]["log_score"] - 0.05
    file.write_text('{"question": "why", "wrong": 7, "draws": 6}\n')
    with pytest.raises(InputError, match="row 1: a question, how many"):
        next(prompt_risk.study(world, answers=str(file)))
