"""Reward models on real preferences, where you have them: $ASSAY_DATA names the folder."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from assay.core import Loop, Pairs, Prompts, Rng
from assay.formulas.pairwise import bradley_terry
from assay.rewards.cross_fit import trust, votes
from assay.rewards.linear import LinearModel

LOOP = Loop(max_steps=12, batch_size=10, learning_rate=0.02)


DATA = Path(os.environ.get("ASSAY_DATA") or "data") / "hh_harmless.jsonl.gz"


def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
    """The loss of Bradley–Terry."""
    return bradley_terry(chosen, rejected, p=p, margin=margin)


@pytest.mark.skipif(not DATA.exists(), reason="the real preferences are not here")
def test_on_people_s_preferences_in_sample_votes_look_far_surer_than_they_are() -> None:
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(200), strict=False)]
    V, T, n = 512, 60, len(rows)
    tokens, held = torch.zeros(n, 2, T, dtype=torch.int64), torch.zeros(n, 2, T, dtype=torch.bool)
    for i, row in enumerate(rows):
        for j, side in enumerate(("chosen", "rejected")):
            ids = [zlib.crc32(w.encode()) % V for w in row[side].lower().split()][-T:]
            tokens[i, j, : len(ids)], held[i, j, : len(ids)] = (
                torch.tensor(ids, dtype=torch.int64),
                True,
            )
    prompts = Prompts(
        torch.zeros(n, 1, dtype=torch.int64),
        torch.ones(n, 1, dtype=torch.bool),
        torch.zeros(n, dtype=torch.int64),
    )
    people = Pairs(
        prompts,
        tokens,
        held,
        torch.zeros_like(held),
        torch.zeros(n, 2, T),
        torch.ones(n, 2, dtype=torch.bool),
        p=torch.ones(n),
        margin=torch.zeros(n),
    )
    model, loop = (
        LinearModel(2, vocabulary=V, rng=Rng(0)),
        Loop(max_steps=40, batch_size=64, learning_rate=0.04),
    )
    u, inside = (
        votes(model, people, loss=loss, folds=3, crossfit=c, loop=loop).mean(0)
        for c in (True, False)
    )
    both = people.present.all(-1)
    assert (
        float((inside[both] > 0).float().mean()) > 0.9 > 0.7 > float((u[both] > 0).float().mean())
    )
    assert trust(u[both], people.p[both]) < 0.5 * trust(inside[both], people.p[both])
