"""A panel that answers by several routes, an encoder that foretells where it fails, and rewrites
and routes chosen by that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import InputError, Loop, Rng, World
from assay.models.vocabulary import Vocabulary
from assay.recipes import prompt_risk
from assay.registry.catalogue import load_world as world_of
from assay.rewards.risk_encoder import Labelled, fitted, read, told
from assay.rewards.risk_fits import ARMS, fits, logits, of_length
from assay.rewards.risk_scores import agreeing


@pytest.fixture(scope="module")
def world() -> World:
    return world_of("study")(seed=0)


@pytest.mark.full
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


def test_answers_agree_by_the_share_of_the_most_frequent() -> None:
    answer = torch.tensor([[3, 3, 1, 3], [0, 1, 2, 3]])
    assert agreeing(answer).tolist() == [0.75, 0.25]


@pytest.mark.full
def test_exchanged_labels_know_the_routes_and_not_the_questions() -> None:
    """Route b is good for "what" and bad for "why"; c is bad for both."""
    words = Vocabulary(["what", "why", "is", "a", "b", "c", "d"])
    rows = [f"{'why' if i % 2 else 'what'} is {'abcd'[i % 7 % 4]}" for i in range(200)]
    share = torch.tensor([[0.5, 0.9 if i % 2 else 0.1, 0.9] for i in range(200)]).double()
    loop = Loop(max_steps=150, batch_size=32, learning_rate=1e-2)
    models = fits(words.prompts(rows), share, 3, len(words), 8, loop, Rng(0))
    assert tuple(models) == ARMS
    asked = words.prompts(["what is a", "why is a"])
    mine, blind = (logits(models[k], asked, 3).sigmoid() for k in ("encoder", "shuffled"))
    assert mine[0].argmin() == 1 and mine[1].argmin() == 0
    assert abs(float(blind[0, 1] - blind[1, 1])) < 0.3 < float(mine[1, 1] - mine[0, 1])
    assert bool((blind[:, 2] > blind[:, 0] + 0.15).all())
    assert logits(models["length"], asked, 3).shape == (2, 3)


def test_length_is_fitted_by_the_likelihood_of_shares() -> None:
    """Two lengths: the fit is the logit of each one's share, by hand."""
    length = torch.tensor([0.0] * 4 + [10.0] * 4, dtype=torch.float64)
    share = torch.tensor([0.25] * 4 + [0.75] * 4, dtype=torch.float64)
    w = of_length(length, share)
    assert w.tolist() == pytest.approx([2 * math.log(3), -math.log(3)], abs=1e-2)


def test_the_study_trains_answers_and_chooses(world: World) -> None:
    lines: list[dict[str, Any]] = list(
        prompt_risk.study(
            world, questions=60, widths=(8,), at=(3, 6), asked=12, most=4, width=8, steps=20
        )
    )
    fits = {x["fit"]: x for x in lines if "fit" in x}
    assert set(fits) == set(ARMS)
    for x in fits.values():
        assert x["excess_log_score"] >= -1e-9 and 0 <= x["calibration_error"] <= 1
    for name in ("encoder", "cut", "shuffled"):  # the second head is read, where there is one
        assert fits[name]["agreement_log_score"] > 0 < fits[name]["agreement_knowing_nothing"]
    assert "agreement_log_score" not in fits["length"]
    choices = [x for x in lines if "choice" in x]
    assert {(x["choice"], x["slip"], x["n"]) for x in choices} == {
        (c, s, n) for c in ("encoder", "shuffled", "perfect") for s in (0, 0.05) for n in (1, 2, 4)
    }
    free = [x for x in choices if x["choice"] == "encoder" and x["penalty"] == x["slip"] == 0]
    told_ = [x["predicted_risk"] for x in free]
    assert told_ == sorted(told_, reverse=True), "the best of more rewrites is predicted safer"
    assert {x["rank"] for x in lines if "rank" in x} == set(ARMS)
    sent = [x for x in lines if "route" in x]
    assert {(x["route"], x["price"], x["withheld"]) for x in sent} == {
        (a, p, w) for a in ARMS for p in (0.0, 0.01) for w in (None, 0.5)
    }
    for x in sent:
        assert x["least_possible"] <= min(x["loss"], x["best_fixed"]) + 1e-9
        assert sum(v for k, v in x.items() if k.startswith("sent_")) == pytest.approx(1)
    assert {x["labels"] for x in lines if x.get("kind") == "spent"} == {3 * 360}
    with pytest.raises(InputError, match="a slip is a chance"):
        next(prompt_risk.study(world, slip=2.0))


@pytest.mark.full
def test_the_part_on_rewriting_is_the_encoders_to_win(world: World) -> None:
    """With a perfect predictor in the encoder's place it holds. Where rewrites slip it would not:
    a question about a commoner thing is truly safer, and answers nothing.
    """
    lines: list[dict[str, Any]] = list(
        prompt_risk.study(
            world,
            questions=60,
            slip=0.3,
            widths=(16,),
            at=(150,),
            asked=80,
            most=8,
            width=8,
            steps=10,
        )
    )
    assert prompt_risk.claim.effect is not None

    def by_the_perfect(slip: float) -> dict[str, float]:
        rest = [x for x in lines if x.get("choice") not in ("encoder", "perfect")]
        mine = [x for x in lines if x.get("choice") == "perfect" and x["slip"] == slip]
        for name in ("encoder", "perfect"):
            rest += [{**x, "choice": name, "slip": 0.0} for x in mine]
        return dict(prompt_risk.claim.effect({"study": rest}))

    least = prompt_risk.claim.least
    kept, slipped = by_the_perfect(0.0), by_the_perfect(0.3)
    part = "rewriting over as asked"
    assert kept[part] == kept["room for rewriting"] > least[part] > slipped[part]


@pytest.mark.full
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
    fits = {x["fit"]: x for x in prompt_risk.study(world, answers=str(file), steps=100)}
    assert fits["encoder"]["log_score"] < fits["shuffled"]["log_score"] - 0.05
    assert fits["encoder"]["log_score"] < fits["length"]["log_score"] - 0.05
    assert "excess_log_score" not in fits["encoder"], "the shares foretell themselves"
    file.write_text('{"question": "why", "wrong": 7, "draws": 6}\n')
    with pytest.raises(InputError, match="row 1: a question, how many"):
        next(prompt_risk.study(world, answers=str(file)))


@pytest.mark.full
def test_your_own_routes_are_ranked_and_taken(world: World, tmp_path: Path) -> None:
    """One pipeline fails at "why", the other at "what": no fixed one is good."""
    file = tmp_path / "answers.jsonl"
    rows = [
        {
            "question": f"{'why' if i % 2 else 'what'} is it {i % 7} {i % 31}",
            "route": route,
            "wrong": 5 if (i % 2 == 1) == (route == "small") else 1,
            "draws": 6,
        }
        for i in range(120)
        for route in ("small", "large")
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    texts, routes, share, words = read(file)
    assert routes == ("small", "large") and share.shape == (len(texts), 2)
    assert words.tolist() == [0, 0]
    lines = list(prompt_risk.study(world, answers=str(file), steps=100))
    ranks = {x["rank"]: x["kendall"] for x in lines if "rank" in x}
    assert ranks["encoder"] > 0.8 > 0.5 > ranks["shuffled"]
    assert {x["price"] for x in lines if "route" in x} == {0.0}, "no row says what a route reads"
    for x in lines:
        assert not {"least_possible", "rescued", "safest_first", "excess_log_score"} & set(x)
    sent = {x["route"]: x for x in lines if "route" in x and x["withheld"] is None}
    assert sent["encoder"]["loss"] < sent["encoder"]["best_fixed"] - 0.2
    file.write_text("".join(json.dumps(r) + "\n" for r in rows[:-1]))
    with pytest.raises(InputError, match="was not sent by route 'large'"):
        read(file)


def test_the_words_that_your_routes_read_cost_their_price(world: World, tmp_path: Path) -> None:
    """The large route is always right and reads four words: at .1 it costs more than it saves."""
    file = tmp_path / "answers.jsonl"
    rows = [
        {"question": f"is it {i}", "route": r, "wrong": w, "draws": 10, "words": n}
        for i in range(40)
        for r, w, n in (("small", 3, 0), ("large", 0, 3 + 2 * (i % 2)))
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    assert read(file)[3].tolist() == [0, 4]
    lines = list(prompt_risk.study(world, answers=str(file), price=0.1, width=8, steps=10))
    fixed = {x["price"]: x for x in lines if x.get("route") == "encoder" and not x["withheld"]}
    assert fixed[0.0]["best_fixed_route"] == "large" and fixed[0.0]["best_fixed"] == 0
    assert fixed[0.1]["best_fixed_route"] == "small"
    assert fixed[0.1]["best_fixed"] == pytest.approx(0.3)
    file.write_text(json.dumps({**rows[0], "words": -1}) + "\n")
    with pytest.raises(InputError, match="words, a number"):
        read(file)
