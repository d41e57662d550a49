"""Answers in the making: who leaves, what is made ahead, what is given and picked changes no draw
of anybody else.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from alike import same

from assay.core import Prompts, Samples
from assay.core.rng import Rng
from assay.models.backbones.llama import Config, Llama
from assay.models.policies.causal import Causal
from assay.models.samplers.decoding import CausalDecoding
from assay.models.vocabulary import Vocabulary

WORDS = Vocabulary([f"w{i}" for i in range(9)])


def policy(**settings: Any) -> Causal:
    return Causal(
        Llama(Config(len(WORDS), 16, 2, 4, 2, 24), Rng(1)).double(),
        WORDS,
        **{"max_tokens": 7, **settings},
    )


def prompts() -> Prompts:
    return WORDS.prompts(["w1 w2", "w3", "", "w1 w4 w5 w6"])


def test_who_leaves_the_batch_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    p = policy()
    drawn = {}
    for leave in (0.0, 0.125, 1.0):  # at once, usual, never
        monkeypatch.setattr(CausalDecoding, "leave", leave)
        drawn[leave] = p.sample(prompts(), 12, Rng(3))
    same(drawn[0.0], drawn[0.125])
    same(drawn[0.0], drawn[1.0])


def test_numbers_made_ahead_are_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where answers leave, where a state goes on from given tokens, and where particles are
    picked in between.
    """

    def drawn() -> Samples:
        state = policy(max_tokens=12).decoding(prompts(), 6, Rng(3))
        for t in range(12):
            if t == 4:
                state.force(torch.full((4, 6), 5))
            elif t == 7:
                state.select(torch.tensor([[1, 1, 4, 0]] * 4))
            else:
                state.step()
        return state.samples()

    here = []
    for ahead in (1, 3, 16):
        monkeypatch.setattr(CausalDecoding, "ahead", ahead)
        here.append(drawn())
    same(here[0], here[1])
    same(here[0], here[2])
