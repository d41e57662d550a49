"""Evaluators that answer yes or no: a model, a server, a classifier; and what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from answering import servers
from families import checkpoint
from small import small_world

from assay.core import InputError, Rng
from assay.recipes import spark
from assay.rewards.transitions import LINE, Transitions, of_episodes, of_lines, possible
from assay.rewards.yes_no import FittedEvaluator, ModelEvaluator, Remembered, ServedEvaluator
from assay.worlds import table
from assay.worlds.goals import grid

PLACE = grid(Rng(0)).process
GOALS = tuple(PLACE.subgoals)
ASKED = ["Did it rain?", "please tell me about the gate and the pond: is it closed today?", "so?"]


def test_a_model_says_what_its_own_logits_say_whatever_stands_beside(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(checkpoint(tmp_path / "model", "llama"))
    one = ModelEvaluator(folder, batch=2)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokens: Any = AutoTokenizer.from_pretrained(folder)
    for text, found in zip(ASKED, one.log_odds(ASKED), strict=True):
        ids = tokens.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt"
        )
        ids = ids if isinstance(ids, torch.Tensor) else ids["input_ids"]
        logits = model(ids).logits[0, -1].detach()
        yes, no = (logits[w].logsumexp(-1) for w in one.words)
        assert found == pytest.approx(float(yes - no), abs=1e-4)
    assert one(ASKED)[0] == pytest.approx(
        1 / (1 + float(torch.tensor(-one.log_odds(ASKED[:1])[0]).exp()))
    )
    calm = ModelEvaluator(folder, blank=ASKED[:1])
    assert calm(ASKED[:1]) == [pytest.approx(0.5)]  # nothing left of what it always prefers
    assert isinstance(one.write("please tell me", most=4), str)


def test_a_server_is_asked_once_about_each_text(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with servers("yes_no_server.py", log) as begin:
        served = ServedEvaluator(f"{begin('plain')}/v1", "small-1")
        asked = Remembered(served)
        lit, dark = "Before: dark\nAfter: lit\nDid it?", "Before: dark\nAfter: dark\nDid it?"
        assert asked([lit, dark, lit]) == [1.0, 0.0, 1.0] and asked([dark]) == [0.0]
        lines = log.read_text().splitlines()
        assert len(lines) == 2 and '"small-1"' in lines[0] and "/v1/chat/completions" in lines[0]
        assert "1. Pick up the key." in asked.write("List the 3 subgoals")
        vague = ServedEvaluator(begin("vague"), "small-1")
        assert vague([lit, dark]) == [0.0, 0.0] and vague.unreadable == 2
    with pytest.raises(InputError, match="needs --judge-model"):
        ServedEvaluator("http://127.0.0.1:9", "")
    with pytest.raises(InputError, match="fitted cannot write"):
        Remembered(FittedEvaluator(torch.zeros(2))).write("List")


def everything() -> tuple[list[str], torch.Tensor, Transitions]:
    """Every question about the rooms, and the annotator's answers."""
    t = of_episodes(possible(PLACE), PLACE, GOALS)
    texts, index = t.questions()
    truth = torch.zeros(len(texts), dtype=torch.bool)
    assert t.truth is not None
    truth[index[t.there].flatten()] = t.truth[t.there].flatten()
    return texts, truth, t


def test_every_transition_is_asked_about_once_and_told_in_words() -> None:
    texts, truth, t = everything()
    assert len(set(texts)) == len(texts) == 3 * len(torch.unique(t.code[t.there]))
    assert 0.01 < float(truth.float().mean()) < 0.1  # few transitions reach anything
    for text, yes in zip(texts, truth.tolist(), strict=True):
        before, after = (line for line in text.splitlines() if line[:6] in ("Before", "After:"))
        if "pick up the key" in text:
            assert yes == ("nothing" in before and "the key" in after)
        if "open the locked door" in text:
            assert yes == ("open doorway" in after and "open doorway" not in before)
        if "reach the goal in this" in text:
            assert yes == ("on the goal" in after and "on the goal" not in before)


def test_a_classifier_of_the_texts_generalises_to_transitions_it_was_not_shown() -> None:
    texts, truth, _ = everything()
    shown = Rng(3).uniform(torch.arange(len(texts))) < 0.5
    fitted = FittedEvaluator.fit(
        [t for t, k in zip(texts, shown.tolist(), strict=True) if k], truth[shown].tolist()
    )
    said = torch.tensor(fitted(texts)) > 0.5
    new = ~shown
    hits, false = said[new & truth].float().mean(), said[new & ~truth].float().mean()
    assert float(hits) > 0.7 and float(false) < 0.05  # a yes weighs as much as fifty noes
    assert FittedEvaluator.fit(texts[:3], [False] * 3)(texts[:2]) == pytest.approx([0, 0], abs=1e-6)
    assert FittedEvaluator.fit(texts[:3], [True] * 3)(texts[:2]) == pytest.approx([1, 1])


def test_episodes_reach_what_the_annotator_says() -> None:
    world = table.world(testbed="grid")
    x = world.task.others["uniform"].sample(world.task.prompts, 4, Rng(1))
    t = of_episodes(x, PLACE, GOALS)
    assert t.truth is not None
    named = [[PLACE.states[i] for i in row] for row in x.extra["state"].flatten(0, 1).tolist()]
    for states, there, truth in zip(
        named, t.there.flatten(0, 1), t.truth.flatten(0, 1), strict=True
    ):
        took = [s for s in range(int(there.sum())) if "k" in states[s + 1] and "k" not in states[s]]
        assert truth[:, 0].nonzero().flatten().tolist() == took
    assert of_episodes(x, PLACE, ("open the locked door", "dance")).truth is None
    tomato = table.world(testbed="tomato").task
    with pytest.raises(InputError, match="not described in words"):
        of_episodes(x, tomato.reference.process, GOALS)  # type: ignore[attr-defined]


def test_a_line_is_asked_about_after_the_lines_before_it() -> None:
    task = small_world(spark).task
    x = task.reference.sample(task.prompts, 4, Rng(1))
    step = task.rewards.step_of(x)
    t = of_lines(x, step, task.rewards.named("steps").steps(x)[0], Rng(2))
    texts, index = t.questions()
    said, prompts = x.text(), x.prompts.text()
    for b, n in ((0, 0), (3, 2)):
        for s in range(int(t.there[b, n].sum())):
            text = texts[int(index[b, n, s, 0])]
            before, line, asked = text.splitlines()
            assert before.startswith(prompts[b]) and LINE in asked
            own = f"{before.removeprefix(prompts[b])} {line.removeprefix('Step: ')}".split()
            assert said[b][n].split()[: len(own)] == own
    same = t.code[..., 0] == t.code[..., :1, 0]
    assert bool((same == (index[..., 0, 0] == index[..., :1, 0, 0])).all())
