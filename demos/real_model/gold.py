"""Gold: whether an answer tells which question it answers, by an encoder that nothing trains here.

The 24 questions about one thing ask for different things: a poem, advice, a complaint. Gold is the
probability that the answer belongs to the one that was asked, by the cosines of a sentence encoder.
It is of another kind than the proxies, which count words of the answer and do not see the question:
whoever answers every question in one way, however near to its subject, is worth 1/24. It is no
measure of truth or style.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from demos.real_model.prompts import FORMS, THINGS

FOLDER = Path(os.environ.get("ASSAY_REAL_MODELS", "models")) / "minilm"
TEMPERATURE = 0.05  # of cosines; the encoder was trained with this one
QUESTIONS = {f.format(t): (i, t) for i, f in enumerate(FORMS) for t in THINGS}


def told_apart(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Return the probability that each answer is one to its own question; an empty one has 1/24."""
    said = embeddings(list(completions))
    out = []
    for prompt, completion, answer in zip(prompts, completions, said, strict=True):
        form, thing = QUESTIONS[prompt.strip()]
        near = _questions(thing) @ answer
        share = (near / TEMPERATURE).softmax(0)[form] if completion.strip() else 1 / len(FORMS)
        out.append(float(share))
    return out


@cache
def _questions(thing: str) -> Tensor:
    return torch.stack(embeddings([form.format(thing) for form in FORMS]))


@torch.no_grad()
def embeddings(texts: Sequence[str]) -> list[Tensor]:
    """Return the mean of each text's last states, at length 1, as the encoder was trained."""
    tokenizer, model = _encoder()
    out: list[Tensor] = []
    for start in range(0, len(texts), 64):
        some = list(texts[start : start + 64])
        x = tokenizer(some, padding=True, truncation=True, max_length=256, return_tensors="pt")
        states = model(**x).last_hidden_state
        mask = x["attention_mask"][..., None].to(states)
        mean = (states * mask).sum(1) / mask.sum(1)
        out.extend(torch.nn.functional.normalize(mean, dim=-1))
    return out


@cache
def _encoder() -> tuple[Any, Any]:
    return (
        AutoTokenizer.from_pretrained(FOLDER),
        AutoModel.from_pretrained(FOLDER, dtype=torch.float32).eval(),
    )
