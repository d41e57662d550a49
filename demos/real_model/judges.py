"""The proxies: reward models fitted to noisy preferences between the model's own answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import assay
from demos.real_model.gold import relevance

MOST_TOKENS = 48
TEMPERATURE = 0.7  # at 1 a model of this size rambles, and all that training gains is that it stops


def preferences(
    model: Path, prompts: Sequence[str], file: Path, *, n: int, wrong: float, seed: int
) -> Path:
    """Sample n answers to each prompt and compare them, a pair a line.

    Gold says which answer is better, as people do who were asked; `wrong` of the labels are turned
    round, as such labels are.

    Args:
        model: The folder of the model that answers.
        prompts: The prompts.
        file: Where the pairs are written; kept if it is there.
        n: Answers to a prompt; all their pairs are compared.
        wrong: The share of labels that are turned round.
        seed: Of the answers and of the wrong labels.
    """
    if file.exists():
        return file
    found = assay.sample_best_of_n(
        str(model),
        list(prompts),
        relevance,
        n=n,
        max_tokens=MOST_TOKENS,
        temperature=TEMPERATURE,
        batch_size=16,
        seed=seed,
    )
    draw, rows = random.Random(seed), []
    for prompt, answers, gold in zip(found.prompts, found.completions, found.proxy, strict=True):
        for i, j in combinations(range(n), 2):
            better = (gold[i] > gold[j]) ^ (draw.random() < wrong)
            chosen, rejected = (i, j) if better else (j, i)
            rows.append(
                {"prompt": prompt, "chosen": answers[chosen], "rejected": answers[rejected]}
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")  # a file that was begun is not one that is there
    part.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    part.rename(file)
    return file


def fitted(pairs: Path, folder: Path, *, members: int, seed: int) -> Any:
    """Fit an ensemble that counts words of the answer, or load the one that is there."""
    if folder.exists():
        return assay.load_reward(folder)
    return assay.fit_reward(pairs, base="words", members=members, seed=seed, out=folder)
