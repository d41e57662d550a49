"""Runs of a recipe on a checkpoint, for tests: a few prompts, pairs, demonstrations and rewards."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import assay
from assay.registry.catalogue import find

REAL = Path(os.environ.get("ASSAY_REAL_MODELS", "")) / "smollm2"
ASKS = [
    f"Say something about the {a} {b}."
    for a in ("old", "new")
    for b in ("mill", "gate", "pond", "day")
]


def shorter(prompts: list[str], first: list[str], second: list[str]) -> list[float]:
    """Prefer the shorter response, by a sigmoid of the difference in characters."""
    return [
        1 / (1 + math.exp(max(-30.0, min(30.0, (len(a) - len(b)) / 8))))
        for a, b in zip(first, second, strict=True)
    ]


def brief(prompts: list[str], completions: list[str]) -> list[float]:
    """Score brevity."""
    return [-len(c) / 50 for c in completions]


def even(prompts: list[str], completions: list[str]) -> list[float]:
    """A verdict of 0 or 1 that random text gets about as often: are its characters even?"""
    return [float(len(c) % 2 == 0) for c in completions]


def pairs() -> list[dict[str, str]]:
    return [
        {
            "prompt": a,
            "chosen": "It is quiet.",
            "rejected": "It is there, I suppose, and it may be.",
        }
        for a in ASKS
    ]


def trained(recipe: str, model: str, steps: int, tokens: int, **more: Any) -> Any:
    needs = find(recipe).needs
    given: dict[str, Any] = {"prompts": [{"prompt": a} for a in ASKS]}
    if "pairs" in needs:
        given = {"pairs": pairs()}
    if "demos" in needs:
        given["demos"] = [{"prompt": r["prompt"], "completion": r["chosen"]} for r in pairs()]
    if "preference" in needs:
        given["preference"] = shorter
    if "rewards" in needs:
        given["rewards"] = brief
    given |= more
    return assay.train(
        recipe,
        model=model,
        gold=brief,
        held_out=2,
        max_tokens=tokens,
        max_steps=steps,
        batch_size=2,
        num_generations=4,
        learning_rate=1e-5,
        eval_steps=max(1, steps // 2),
        quiet=True,
        **given,
    )


def checked(run: Any, recipe: str) -> None:
    readings = run.readings
    assert run.state == "done" and len(readings) >= 2, recipe
    numbers = [(k, v) for r in readings for k, v in {**r, **r["stats"]}.items()]
    wrong = [(k, v) for k, v in numbers if isinstance(v, float) and not math.isfinite(v)]
    assert not wrong, (recipe, wrong[:5])
    losses = [r["stats"]["loss"] for r in readings if "loss" in r["stats"]]
    norms = [r["stats"]["grad_norm"] for r in readings if "grad_norm" in r["stats"]]
    assert losses, (recipe, "no loss was recorded")
    assert max(norms) > 0, (recipe, "nothing was learned")
