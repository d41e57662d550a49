"""Prompts behind an instruction, and the token signal that contrasting ones give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small import SIZES

from assay.core import InputError, Prompts, PromptTexts, Rng, World
from assay.data.turns import Turn
from assay.models.instructions import instructed
from assay.models.text_encoder import Templated
from assay.models.vocabulary import Vocabulary
from assay.recipes import token_reward
from assay.worlds import grammar, language

ASKED = {"better": language.GOOD, "worse": language.BAD}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as m:
        m.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("kept")))
        return grammar.world(**{**SIZES["grammar"], "instructed": 0.5}, seed=1)


def test_words_go_before_the_words_of_a_prompt(world: World) -> None:
    prompts = world.task.prompts[torch.tensor([3, 1])]
    told = instructed(world.task.reference, prompts, language.BAD, by="a test")
    assert told.text() == [f"no good , {text}" for text in prompts.text()]
    assert torch.equal(told.row, prompts.row)


def texts(rows: list[str], turns: list[Any]) -> tuple[Prompts, list[Any]]:
    seen: list[Any] = []
    words = Vocabulary(["x"])

    def encode(some: Any, conversations: Any) -> Prompts:
        seen.append((list(some), list(conversations)))
        return words.prompts(["x"] * len(some))

    read = PromptTexts(words.decode, rows, turns, {}, encode)
    return replace(words.prompts(["x"] * len(rows)), decode=read), seen


def test_in_a_conversation_the_user_says_it_last() -> None:
    said = (Turn("system", "Be kind."), Turn("user", "Hi"), Turn("assistant", "Yes?"))
    prompts, seen = texts(["a", "b"], [None, (*said, Turn("user", "2 + 2?"))])
    instructed(None, prompts, "Be wrong.", by="a test")
    (plain, turns) = seen[0]
    assert plain[0] == "Be wrong.\n\na" and turns[0] is None
    assert turns[1] == (*said, Turn("user", "Be wrong.\n\n2 + 2?"))
    instructed(None, texts(["b"], [said[:1]])[0], "Be wrong.", by="a test")
    with pytest.raises(InputError, match="a chat template wrote these already"):
        instructed(None, texts([Templated("<|user|>")], [None])[0], "Be wrong.", by="a test")


def test_the_signal_is_the_references_answer_to_two_instructions(world: World) -> None:
    reference, pairs = world.task.reference, world.task.pairs
    plus, minus = token_reward.prompted(reference, pairs, **ASKED)
    s = token_reward.credit(reference, reference, plus, minus)
    assert torch.equal(plus.action, pairs.action) and torch.equal(plus.mask, pairs.mask)
    assert float(s.abs().max()) > 0.001 and not bool((s[~pairs.mask] != 0).any())
    by_hand = torch.sigmoid(reference.logp(plus) - reference.logp(minus)) - 0.5
    torch.testing.assert_close(s[pairs.mask], by_hand[pairs.mask])
    other = token_reward.credit(reference, reference, minus, plus)
    torch.testing.assert_close(other, -s)
    same = token_reward.prompted(reference, pairs, language.GOOD, language.GOOD)
    assert float(token_reward.credit(reference, reference, *same).abs().max()) == 0.0


def test_instructions_follow_the_care_of_writers() -> None:
    care = torch.tensor([0.9, 0.1, 0.6, 0.4])
    every = language.instructed(["a", "b", "c", "d"], care, 1.0, Rng(0))
    assert every == ["good , a", "no good , b", "good , c", "no good , d"]
    assert language.instructed(["a", "b", "c", "d"], care, 0.0, Rng(0)) == ["a", "b", "c", "d"]
    many = language.instructed(["a"] * 400, torch.full((400,), 0.9), 0.25, Rng(0))
    assert 60 < sum(text.startswith("good") for text in many) < 140
