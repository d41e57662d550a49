"""`assay.sample_best_of_n` and `assay.best_of_n_curve`, with objects from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import checkpoint

import assay
from assay.core import InputError

PROMPTS = ["the old mill", "please tell me", "it rains"]


def words(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(c.split())) for c in completions]


def vowels(prompts: list[str], completions: list[str]) -> list[float]:
    return [float(sum(c.count(v) for v in "aeiou")) for c in completions]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(checkpoint(tmp_path / "model", "llama"))


def test_the_best_has_the_highest_mean_score(model: str) -> None:
    found = assay.sample_best_of_n(
        model, PROMPTS, [words, vowels], gold=vowels, n=5, max_tokens=6, batch_size=2
    )
    assert found.scores.shape == (2, 3, 5) and found.names == ("words", "vowels")
    assert [len(c) for c in found.completions] == [5, 5, 5]
    for p, best in enumerate(found.best):
        assert found.scores[:, p].mean(0).max() == found.scores[:, p, best].mean()
        assert found.texts[p] == found.completions[p][best]
        assert list(found.scores[0, p]) == words([], found.completions[p])
    assert found.gold is not None and np.array_equal(found.gold, found.scores[1])
    again = assay.sample_best_of_n(model, PROMPTS, words, n=5, max_tokens=6, batch_size=1)
    assert again.completions == found.completions, "the batch size changes no completion"


def test_its_curve_is_that_of_its_rows(model: str) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = assay.sample_best_of_n(model, PROMPTS, words, gold=vowels, n=4, max_tokens=6)
    direct = assay.best_of_n_curve(found, draws=50)
    rows = assay.best_of_n_curve(list(found.rows()), draws=50)
    table = assay.best_of_n_curve(found.to_pandas(), draws=50)
    assert direct.result["curves"] == rows.result["curves"] == table.result["curves"]
    assert list(direct.to_pandas()["n"]) == [1, 2, 4]
    assert "KL" in str(direct) and "<table>" in direct._repr_html_()
    mean = float(np.mean(found.gold))  # n = 1 chooses at random
    assert next(direct.rows())["gold"] == pytest.approx(mean)


def test_a_reward_that_does_not_apply_does_not_choose(model: str) -> None:
    """numpy takes NaN for the highest of all numbers."""

    def even(prompts: list[str], completions: list[str]) -> list[float | None]:
        return [None if len(c) % 2 else float(len(c)) for c in completions]

    found = assay.sample_best_of_n(model, PROMPTS, even, gold=words, n=8, max_tokens=6)
    scores = found.scores[0]
    known = ~np.isnan(scores)
    assert known.any(1).all() and not known.all()
    assert [scores[p, i] for p, i in enumerate(found.best)] == list(np.nanmax(scores, 1))
    assert np.allclose(found.proxy.mean(1), np.nanmean(scores, 1))
    rows = list(found.rows())
    assert [r["even"] is None for r in rows] == list(~known.ravel())
    assert all(np.isfinite(r["proxy"]) for r in rows)
    curve = assay.best_of_n_curve(found, draws=50)
    assert list(curve.rows())[-1]["n"] == 8


def test_what_is_missing_is_said(model: str) -> None:
    found = assay.sample_best_of_n(model, PROMPTS, words, n=2, max_tokens=4)
    with pytest.raises(InputError, match="no gold; pass gold to sample_best_of_n"):
        assay.best_of_n_curve(found)
    with pytest.raises(InputError, match="scored from Python has no column 'gold'"):
        assay.best_of_n_curve([{"prompt": "a", "completion": "b", "proxy": 1.0}])
    with pytest.raises(InputError, match="has no max_token; did you mean max_tokens"):
        assay.sample_best_of_n(model, PROMPTS, words, n=2, max_token=4)
    with pytest.raises(InputError, match="rewards is empty"):
        assay.sample_best_of_n(model, PROMPTS, [], n=2)
