"""Curves of a file: divided by prompt, nested, and blind to a length that is controlled for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import checkpoint

from assay.core import InputError, Rng
from assay.recipes import preference_scaling
from assay.rewards.linear_solvers import validated_bradley_terry
from assay.rewards.scaling_files import Split, features_of, pool_of, sizes_of
from assay.worlds import table

WORDS = [f"w{i}" for i in range(40)]


def write(path: Path, *, n: int = 1200, long: bool = False) -> Path:
    """Pairs of which the chosen one holds a good word, or is longer and nothing else."""
    draw = np.random.default_rng(0)
    with path.open("w") as file:
        for i in range(n):
            two = [" ".join(draw.choice(WORDS, 6)) for _ in range(2)]
            two[0] += " more words than that" if long else f" good{draw.integers(10)}"
            row = {"prompt": f"question {i // 2}", "chosen": two[0], "rejected": two[1]}
            file.write(json.dumps(row) + "\n")
    return path


def test_a_division_shares_no_prompt_and_keeps_every_pair(tmp_path: Path) -> None:
    pool = pool_of(str(write(tmp_path / "pairs.jsonl")), "", Rng(0))
    split = Split(pool, Rng(1))
    assert pool.pairs is not None
    prompts = [set(pool.group[pool.pairs[rows, 0]].tolist()) for rows in (split.train, split.test)]
    assert not prompts[0] & prompts[1] and len(split.train) + len(split.test) == 1200
    assert len(split.test) == 240 and not torch.equal(split.test, Split(pool, Rng(2)).test)


def test_a_curve_falls_where_words_tell_and_length_tells_nothing_once_balanced(
    tmp_path: Path,
) -> None:
    good = pool_of(str(write(tmp_path / "good.jsonl")), "", Rng(0))
    curve = list(Split(good, Rng(1)).curve(features_of(good, "words:512"), [60, 900]))
    assert curve[0].loss > curve[1].loss + 0.05 and curve[1].accuracy > 0.9
    half = torch.zeros(1200, dtype=torch.bool)
    half[::3] = True  # of a third of the pairs the shorter completion is the chosen one
    long = pool_of(str(write(tmp_path / "long.jsonl", long=True)), "", Rng(0))
    assert long.pairs is not None
    long.pairs[half] = long.pairs[half].flip(1)
    found = next(iter(Split(long, Rng(1)).curve(features_of(long, "words:512"), [900])))
    assert found.accuracy == pytest.approx(2 / 3, abs=0.05)
    assert found.balanced > found.loss + 0.03 and found.balanced > np.log(2) - 0.02


def test_scored_responses_become_pairs_of_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "scored.jsonl"
    rows = [
        {"prompt": f"p{i % 30}", "response": f"text {i}", "score": float(i % 4)} for i in range(180)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    pool = pool_of(str(path), "score", Rng(0), a_prompt=8)
    assert pool.pairs is not None and pool.score is None
    number = torch.tensor([int(r.split()[1]) for r in pool.responses])[pool.pairs]
    assert bool((number[:, 0] % 4 > number[:, 1] % 4).all())
    assert torch.equal(number[:, 0] % 30, number[:, 1] % 30)


def test_the_ridge_is_chosen_by_pairs_that_were_not_fitted() -> None:
    x = torch.randn(800, 30, generator=torch.Generator().manual_seed(0))
    pairs, one = torch.arange(800).reshape(400, 2), torch.ones(400)
    given: dict[str, Any] = {"p": one, "margin": torch.zeros(400), "ridges": (0.01, 1000.0)}
    _, noise = validated_bradley_terry(x, pairs, **given)
    better = x[:, 0].reshape(400, 2).argmax(1)
    told = torch.where(better[:, None] == 0, pairs, pairs.flip(1))
    w, sure = validated_bradley_terry(x, told, **given)
    assert (noise, sure) == (1000.0, 0.01) and int(w.abs().argmax()) == 0


def test_a_file_gives_a_line_for_each_encoder(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl")
    world = table.world(testbed="bandit", prompts=1, members=1, pairs=40)
    lines = list(
        preference_scaling.study(
            world, pairs=str(path), encoders=("words:64", "words:512"), splits=2, planted=False
        )
    )
    assert [x["encoder"] for x in lines] == ["words:64", "words:512"]
    for x in lines:
        assert x["sizes"] == [60, 120, 240, 480, 960] and len(x["loss"]) == 5
        assert x["fall"] > 0.1 and x["fall_half_width"] > 0
        assert {"power_over_exponential", "power_over_constant_half_width"} <= set(x)
    assert lines[1]["loss"][-1] < lines[0]["loss"][-1]


@pytest.mark.full
def test_a_folder_of_transformers_reads_the_file_frozen(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "tiny", "llama")
    path = write(tmp_path / "pairs.jsonl")
    x = features_of(pool_of(str(path), "", Rng(0)), str(folder))
    assert isinstance(x, torch.Tensor) and x.shape == (2400, 32)
    assert torch.allclose(x.mean(0), torch.zeros(32), atol=1e-4)
    assert torch.allclose(x.std(0, correction=0), torch.ones(32), atol=1e-3)
    world = table.world(testbed="bandit", prompts=1, members=1, pairs=40)
    (line,) = preference_scaling.study(
        world, pairs=str(path), encoders=(str(folder),), splits=2, planted=False
    )
    assert line["encoder"] == str(folder) and line["fall"] > 0.005
    assert line["loss"][-1] < 0.1 and line["accuracy"][-1] > 0.95  # log 2 is to know nothing


def test_what_cannot_be_fitted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="799 pairs are left to fit"):
        sizes_of(799)
    pool = pool_of(str(write(tmp_path / "pairs.jsonl", n=40)), "", Rng(0))
    with pytest.raises(InputError, match="give a width"):
        features_of(pool, "words:many")
