"""The proxies: reward models fitted to noisy preferences between the model's own answers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import assay
from demos.real_model.gold import told_apart

MOST_TOKENS = 48
TEMPERATURE = 0.7  # at 1 a model of this size rambles, and all that training gains is that it stops


def answers(
    model: Path, prompts: Sequence[str], file: Path, *, n: int = 4, max_tokens: int = MOST_TOKENS
) -> list[dict[str, Any]]:
    """Sample n answers to each prompt, with gold beside them.

    Args:
        model: The folder of the model that answers.
        prompts: The prompts.
        file: Where the answers are written, a prompt a line; read if it is there.
        n: Answers to a prompt.
        max_tokens: Most tokens of an answer.

    Returns:
        A row a prompt: prompt, answers, gold.
    """
    if not file.exists():
        found = assay.sample_best_of_n(
            str(model),
            list(prompts),
            told_apart,
            n=n,
            max_tokens=max_tokens,
            temperature=TEMPERATURE,
            batch_size=16,
            seed=0,
        )
        rows = [
            {"prompt": p, "answers": list(a), "gold": [float(x) for x in g]}
            for p, a, g in zip(found.prompts, found.completions, found.proxy, strict=True)
        ]
        write(file, rows)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def preferences(
    answered: Sequence[Mapping[str, Any]], file: Path, *, wrong: float, draw: random.Random
) -> Path:
    """Compare all answers to a prompt in pairs, a pair a line.

    Gold says which answer is better, as people do who were asked; `wrong` of the labels are turned
    round, as such labels are.

    Args:
        answered: Rows of `answers`.
        file: Where the pairs are written; kept if it is there.
        wrong: The share of labels that are turned round.
        draw: Which.
    """
    rows = []
    for row in answered:
        said, gold = row["answers"], row["gold"]
        for i, j in combinations(range(len(said)), 2):
            better = (gold[i] > gold[j]) ^ (draw.random() < wrong)
            chosen, rejected = (i, j) if better else (j, i)
            rows.append(
                {"prompt": row["prompt"], "chosen": said[chosen], "rejected": said[rejected]}
            )
    if not file.exists():
        write(file, rows)
    return file


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of JSON, the whole file or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")  # a file that was begun is not one that is there
    part.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    part.rename(file)


def fitted(pairs: Path, folder: Path, *, members: int, seed: int) -> Any:
    """Fit an ensemble that counts words of the answer, or load the one that is there."""
    if folder.exists():
        return assay.load_reward(folder)
    return assay.fit_reward(pairs, base="words", members=members, seed=seed, out=folder)
