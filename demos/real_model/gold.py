"""Gold: how near the answer is to the question, by a sentence encoder that was never trained here.

It is of another kind than the proxies, which count words of the answer and do not see the
question. It is no measure of truth or style: an answer that keeps to its subject is near, one that
has left it is far.
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

FOLDER = Path(os.environ.get("ASSAY_REAL_MODELS", "models")) / "minilm"


def relevance(prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Return the cosine between question and answer, from −1 to 1; an empty answer has 0."""
    asked = dict(zip(dict.fromkeys(prompts), embeddings(list(dict.fromkeys(prompts))), strict=True))
    said = embeddings(list(completions))
    return [
        float(asked[p] @ e) if c.strip() else 0.0
        for p, c, e in zip(prompts, completions, said, strict=True)
    ]


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
