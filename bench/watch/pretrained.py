"""Runs of SmolLM2 for the watch's bench and for the audit's: each with reward models of its own.

The model answers 400 questions four times (24 tokens). For each run 100 of these questions are
drawn, all pairs of their answers are labelled by gold, a share of the labels is turned round, and
five reward models that count words are fitted to them. Training, gold and questions are those of
`bench.mitigations`. Half of the settings are meant to turn: with nearly half of the labels wrong
gold peaks low, since the proxy knows little. The others are held by KL, or stop learning early.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.core import Loop, Rng, Samples, World
from assay.worlds import cache as kept
from bench.mitigations.__main__ import COMPARED, POOL, TRAINED_ON
from bench.mitigations.methods import TRAINING

ROOT = Path(__file__).resolve().parents[2]
FOLDER = kept.folder() / "bench-smollm2"
SETTINGS: list[tuple[str, dict[str, Any], dict[str, Any], int | None, bool]] = [
    ("leave_one_out", {"member": 0}, {"wrong": 0.25}, None, True),
    ("leave_one_out", {"member": 0}, {"wrong": 0.45}, None, True),
    ("kl_in_loss", {"member": 0, "beta": 0.1}, {"wrong": 0.25}, None, False),
    ("leave_one_out", {"member": 0}, {"wrong": 0.25}, 3, False),
]
LOOKS, ANSWERS = 12, 4
AUDITED = 64  # completions a prompt that the audit's reward models read beforehand


def world(*, seed: int, wrong: float) -> World:
    """Open the world of a seed, and make its files if they are not there.

    Args:
        seed: Of the questions that are compared, of their labels and of the reward models.
        wrong: The share of labels that are turned round.
    """
    from assay.worlds import hub
    from demos.real_model import judges, models
    from demos.real_model.prompts import prompts

    smollm2, _ = models.make(Path(os.environ["ASSAY_REAL_MODELS"]))
    asked, most = prompts(), TRAINING["max_tokens"]
    answers = judges.answers(smollm2, asked[:POOL], FOLDER / "answers.jsonl", max_tokens=most - 1)
    draw, name = random.Random(seed), f"{seed}-{wrong:g}"
    pairs = judges.preferences(
        draw.sample(answers, COMPARED), FOLDER / f"pairs-{name}.jsonl", wrong=wrong, draw=draw
    )
    judges.fitted(pairs, FOLDER / f"rewards-{name}", members=5, seed=seed)
    train = FOLDER / "train.jsonl"
    judges.write(train, [{"prompt": p} for p in asked[POOL : POOL + TRAINED_ON]])
    same = ("lora", "held_out", "max_tokens", "temperature")
    return hub.world(
        policy=str(smollm2),
        prompts=str(train),
        rewards=(str(FOLDER / f"rewards-{name}"),),
        gold=f"{ROOT / 'demos' / 'real_model' / 'gold.py'}:told_apart",
        **{k: TRAINING[k] for k in same},
    )


def loop(usual: Loop) -> Loop:
    """The constants of optimisation of `bench.mitigations`."""
    same = ("learning_rate", "batch_size", "num_generations")
    return replace(usual, **{k: TRAINING[k] for k in same})


@torch.no_grad()
def audited(opened: World) -> np.ndarray:
    """Scores `[M,B,N]` of the reference's completions, which are the same for every seed."""
    return opened.task.rewards(_reference(opened)).numpy().astype(np.float32)


_drawn: dict[int, Samples] = {}


def _reference(opened: World) -> Samples:
    if AUDITED not in _drawn:  # held-out prompts and the reference are those of every world here
        address = Rng(0)("audit")
        _drawn[AUDITED] = opened.task.reference.sample(opened.held_out, AUDITED, address)
    return _drawn[AUDITED]
